"""What calls of actors end in."""

from __future__ import annotations

from typing import Any

from narke.exceptions._base import RayError, _TextError
from narke.exceptions._task_error import RayTaskError


class RayActorError(RayError):
    """A call of an actor's method did not finish because of the actor itself.

    Args:
        actor_id: the actor in hex, or None.
        error_msg: what happened.
        actor_init_failed: its ``__init__`` raised.
        preempted: its node was taken away.
    """

    BASE_ERROR_MSG = "The actor experienced an error before finishing this task."

    def __init__(
        self,
        actor_id: str | None = None,
        error_msg: str = BASE_ERROR_MSG,
        actor_init_failed: bool = False,
        preempted: bool = False,
    ) -> None:
        self.actor_id = actor_id
        self.error_msg = error_msg
        self._actor_init_failed = actor_init_failed
        self._preempted = preempted

    def __str__(self) -> str:
        return self.error_msg

    @property
    def preempted(self) -> bool:
        """Whether the actor's node was taken away."""
        return self._preempted

    @property
    def actor_init_failed(self) -> bool:
        """Whether the actor's ``__init__`` raised."""
        return self._actor_init_failed

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_actor_error, (type(self), vars(self))


def _rebuild_actor_error(cls: type[RayActorError], state: dict[str, Any]) -> RayActorError:
    error = cls.__new__(cls)
    error.__dict__.update(state)
    return error


class ActorDiedError(RayActorError):
    """The actor is dead and does not come back.

    Args:
        cause: the `RayTaskError` its ``__init__`` raised, a text, or None when nothing is known.
    """

    BASE_ERROR_MSG = "The actor died unexpectedly before finishing this task."

    def __init__(self, cause: Any = None) -> None:
        if isinstance(cause, RayTaskError):
            text = f"The actor died because of an error raised in its creation task, {cause}"
            super().__init__(cause._actor_id, text, actor_init_failed=True)
            return
        super().__init__(None, self.BASE_ERROR_MSG if cause is None else str(cause))

    @staticmethod
    def from_task_error(task_error: RayTaskError) -> ActorDiedError:
        """The error for an actor whose ``__init__`` raised."""
        return ActorDiedError(task_error)


class ActorUnavailableError(RayActorError):
    """The actor cannot be reached now; it may come back, and the call may or may not have run.

    Args:
        error_message: what happened.
        actor_id: the actor's 16 bytes, or None.
    """

    def __init__(self, error_message: str, actor_id: bytes | None) -> None:
        actor = actor_id.hex() if actor_id else None
        super().__init__(
            actor,
            f"The actor {actor} is unavailable: {error_message}. The task may or may not have been executed on "
            "the actor.",
        )


class AsyncioActorExit(RayError):
    """Raised inside an async actor to leave it; see `narke.actor.exit_actor`."""


class ActorPlacementGroupRemoved(ActorDiedError):
    """The placement group that the actor ran in, or was to run in, is gone."""

    BASE_ERROR_MSG = "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(RayError):
    """The actor has `max_pending_calls` calls waiting already."""


class ActorUnschedulableError(_TextError):
    """No node can ever hold the actor.

    Args:
        error_message: what it asks for and what there is.
    """

    _opening = "The actor is not schedulable: "


class ActorHandleNotFoundError(ValueError, RayError):
    """The handle names an actor that this cluster does not know.

    Args:
        error_message: the handle and the cluster.
    """

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message


class ActorAlreadyExistsError(ValueError, RayError):
    """The actor's name is taken in its namespace.

    Args:
        error_message: the name and the namespace.
    """

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message
