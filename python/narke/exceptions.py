"""The exceptions that tasks, actors and objects end in.

Every class derives from `RayError`. A failure of the user's own code arrives as a `RayTaskError` that is also an
instance of the original exception's class, so ``except ValueError`` works across processes.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import types
from typing import Any

__all__ = [
    "RAY_EXCEPTION_TYPES",
    "ActorAlreadyExistsError",
    "ActorDiedError",
    "ActorHandleNotFoundError",
    "ActorPlacementGroupRemoved",
    "ActorUnavailableError",
    "ActorUnschedulableError",
    "AsyncioActorExit",
    "AuthenticationError",
    "CrossLanguageError",
    "GetTimeoutError",
    "LocalRayletDiedError",
    "NodeDiedError",
    "ObjectFetchTimedOutError",
    "ObjectFreedError",
    "ObjectLostError",
    "ObjectReconstructionFailedError",
    "ObjectRefStreamEndOfStreamError",
    "ObjectStoreFullError",
    "OufOfBandObjectRefSerializationException",
    "OutOfDiskError",
    "OutOfMemoryError",
    "OwnerDiedError",
    "PendingCallsLimitExceeded",
    "PlasmaObjectNotAvailable",
    "RayActorError",
    "RayCgraphCapacityExceeded",
    "RayChannelError",
    "RayChannelTimeoutError",
    "RayDirectTransportError",
    "RayError",
    "RaySystemError",
    "RayTaskError",
    "ReferenceCountingAssertionError",
    "RpcError",
    "RuntimeEnvSetupError",
    "StreamingGeneratorReplayInconsistentError",
    "TaskCancelledError",
    "TaskPlacementGroupRemoved",
    "TaskUnschedulableError",
    "UnserializableException",
    "UserCodeException",
    "WorkerCrashedError",
]


class RayError(Exception):
    """Base of every exception of this module."""

    def to_bytes(self) -> bytes:
        """The exception as bytes that `from_bytes` reads back."""
        from narke._private.serialization import cloud_pickle

        return cloud_pickle(self)

    @staticmethod
    def from_bytes(b: bytes) -> RayError:
        """The exception that `to_bytes` wrote. Unpickles: give it only bytes you trust."""
        return pickle.loads(b)

    @staticmethod
    def from_ray_exception(ray_exception: Any) -> RayError:
        """The exception inside a message that names its language and its serialized form.

        Args:
            ray_exception: an object with ``language`` and ``serialized_exception``, or already an exception.
        """
        if isinstance(ray_exception, RayError):
            return ray_exception
        if getattr(ray_exception, "language", "PYTHON") in ("PYTHON", 0, None):
            return pickle.loads(ray_exception.serialized_exception)
        return CrossLanguageError(ray_exception)


class CrossLanguageError(RayError):
    """A failure raised by a task of another language.

    Args:
        ray_exception: an object with ``language`` and ``formatted_exception_string``.
    """

    def __init__(self, ray_exception: Any) -> None:
        language = getattr(ray_exception.language, "name", ray_exception.language)
        super().__init__(f"An exception raised from {language}:\n{ray_exception.formatted_exception_string}")


class TaskCancelledError(RayError):
    """The task was cancelled with `cancel` before it finished.

    Args:
        task_id: the task, or None when it is not known.
        error_message: what led to it.
    """

    def __init__(self, task_id: Any = None, error_message: str | None = None) -> None:
        self.task_id = task_id
        self.error_message = error_message

    def __str__(self) -> str:
        if self.task_id is None:
            return self.error_message or "This task or its dependency was cancelled."
        return f"Task: {self.task_id} was cancelled. {self.error_message or ''}".rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.task_id, self.error_message)


class RayTaskError(RayError):
    """User code in a task or an actor's method raised an exception.

    `get` raises `as_instanceof_cause()` of it: an exception that is both a RayTaskError and an instance of the
    cause's class. ``str()`` is the remote traceback.

    Args:
        function_name: the function or method.
        traceback_str: the remote traceback as text.
        cause: the original exception.
        proctitle: title of the worker process.
        pid: its process id.
        ip: address of its node.
        actor_repr: ``repr`` of the actor, for a method.
        actor_id: the actor's id in hex, for a method.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        super().__init__(function_name, traceback_str, cause, proctitle, pid, ip)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or " ".join(sys.orig_argv[:2])
        self.pid = pid or os.getpid()
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id

    def as_instanceof_cause(self) -> RayTaskError:
        """This error as an instance of the cause's class too; itself when that is impossible."""
        if isinstance(self.cause, RayTaskError):
            return self
        try:
            return self.make_dual_exception_instance()
        except Exception:
            # Classes may refuse to be derived from (final, slots, metaclasses, hooks that raise): the plain error
            # still says everything.
            return self

    def make_dual_exception_instance(self) -> RayTaskError:
        """An instance of a class that derives from RayTaskError and from the cause's class.

        Raises:
            TypeError: the cause's class cannot be derived from.
        """
        return _make_dual(self)

    def __str__(self) -> str:
        return self.traceback_str.rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        args = (
            self.function_name,
            self.traceback_str,
            _picklable_cause(self.cause),
            self.proctitle,
            self.pid,
            self.ip,
            self.actor_repr,
            self._actor_id,
        )
        return RayTaskError, args


def _dual_init(self: Any, error: RayTaskError) -> None:
    cause = error.cause
    self._task_error = error
    self.cause = cause
    self.args = (cause,)


def _dual_getattr(self: Any, name: str) -> Any:
    # Only what neither class has comes here: attributes of the two instances.
    if name in ("_task_error", "cause"):
        raise AttributeError(name)
    error = self._task_error
    return getattr(error, name) if name in vars(error) else getattr(error.cause, name)


def _dual_str(self: Any) -> str:
    return str(self._task_error)


def _dual_repr(self: Any) -> str:
    return f"{type(self).__name__}({self.cause!r})"


def _dual_reduce(self: Any) -> tuple[Any, ...]:
    return _rebuild_dual, (self._task_error,)


def _rebuild_dual(error: RayTaskError) -> RayTaskError:
    return error.as_instanceof_cause()


_DUAL_METHODS = {
    "__module__": __name__,
    "__init__": _dual_init,
    "__getattr__": _dual_getattr,
    "__str__": _dual_str,
    "__repr__": _dual_repr,
    "__reduce__": _dual_reduce,
    "__reduce_ex__": lambda self, _protocol: _dual_reduce(self),
}
_dual_types: dict[type, type] = {}


def make_dual_exception_type(cause_class: type) -> type:
    """The class named ``RayTaskError(X)`` that derives from RayTaskError and from X, made once for each X."""
    dual = _dual_types.get(cause_class)
    if dual is None:
        bases = (cause_class,) if issubclass(cause_class, RayTaskError) else (RayTaskError, cause_class)
        dual = type(f"RayTaskError({cause_class.__name__})", bases, dict(_DUAL_METHODS))
        _dual_types[cause_class] = dual
    return dual


def _make_dual(error: RayTaskError) -> RayTaskError:
    dual = make_dual_exception_type(type(error.cause))
    try:
        instance = dual(error)
    except Exception:
        # A __new__ with other parameters, such as that of exception groups: the cause knows what it was made of.
        instance = dual.__new__(dual, *error.cause.args)  # type: ignore[call-overload]
        instance.__init__(error)  # type: ignore[misc]
    _copy_members(error.cause, instance)
    return instance


def _copy_members(cause: BaseException, instance: BaseException) -> None:
    """Give the dual what built-in classes keep outside of ``__dict__``, such as ``errno``."""
    for cls in type(cause).__mro__[:-3]:  # what Exception, BaseException and object keep is not the cause's
        for name, member in vars(cls).items():
            if isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                with contextlib.suppress(AttributeError, TypeError):  # not set, or read-only
                    setattr(instance, name, getattr(cause, name))


def _picklable_cause(cause: BaseException) -> Any:
    """The cause, or what unpickles to its like: an exception's own way to pickle fails for many constructors."""
    from narke._private.serialization import cloud_pickle

    try:
        pickle.loads(cloud_pickle(cause))
    except Exception:
        return _Portable(cause)
    return cause


class _Portable:
    """Pickles to an exception of the same class with the same arguments and attributes, without its constructor."""

    def __init__(self, exception: BaseException) -> None:
        self._exception = exception

    def __reduce__(self) -> tuple[Any, ...]:
        exception = self._exception
        cls: Any = type(exception) if _pickles(type(exception)) else UserCodeException
        args = tuple(arg if _pickles(arg) else repr(arg) for arg in exception.args)
        if cls is UserCodeException:
            args = (f"{type(exception).__name__}: {exception}",)
        state = {name: value for name, value in vars(exception).items() if _pickles(value)}
        return _rebuild_exception, (cls, args, state)


def _rebuild_exception(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    exception = cls.__new__(cls, *args)
    exception.args = args
    vars(exception).update(state)
    return exception


def _pickles(value: Any) -> bool:
    from narke._private.serialization import cloud_pickle

    try:
        pickle.loads(cloud_pickle(value))
    except Exception:
        return False
    return True


class WorkerCrashedError(RayError):
    """The worker process of the task died: killed, out of memory, or crashed in native code."""

    def __str__(self) -> str:
        return _text_or(
            self,
            "The worker died unexpectedly while executing this task. Its last output is in the worker-*.err and "
            "worker-*.out files of the session's log folder.",
        )


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


class RaySystemError(RayError):
    """The engine itself failed.

    Args:
        client_exc: the exception or text.
        traceback_str: where it happened, if known.
    """

    def __init__(self, client_exc: Any, traceback_str: str | None = None) -> None:
        super().__init__(client_exc, *([traceback_str] if traceback_str is not None else []))
        self.client_exc = client_exc
        self.traceback_str = traceback_str

    def __str__(self) -> str:
        where = f"\ntraceback: {self.traceback_str}" if self.traceback_str else ""
        return f"System error: {self.client_exc}{where}"


class AuthenticationError(RayError):
    """The token is missing or is not the cluster's.

    Args:
        message: what was refused.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return (
            f"{self.message}. The token of a cluster lies in the file `token` of its session folder; give it in "
            "RAY_AUTH_TOKEN, or name the file in RAY_AUTH_TOKEN_PATH."
        )


class UserCodeException(RayError):
    """Stands for an exception of the user's code that cannot be shown as itself."""


class _TextError(RayError):
    """An error whose text is its argument under `message` and a fixed opening."""

    _opening = ""

    def __init__(self, error_message: str) -> None:
        super().__init__(error_message)
        self.error_message = error_message

    def __str__(self) -> str:
        return f"{self._opening}{self.error_message}"


class ObjectStoreFullError(RayError):
    """The node's object store has no room, and nothing in it can be evicted or spilled."""

    def __str__(self) -> str:
        return super().__str__() + (
            "\nThe local object store is full of objects that are still in scope and cannot be evicted. "
            "`narke memory` lists them; drop references, or give init(object_store_memory=...) more."
        )


class OutOfDiskError(RayError):
    """The object store is full and the disk it would spill to is too."""

    def __str__(self) -> str:
        return super().__str__() + (
            "\nThe object cannot be created: the local object store is full and the disk for spilled objects is "
            "over its limit. `df` shows the disk, `narke memory` the objects."
        )


class OutOfMemoryError(RayError):
    """The node ran out of memory and the memory guard ended the worker.

    Args:
        message: what was ended and why.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class NodeDiedError(RayError):
    """The node that ran the task or held the object is dead.

    Args:
        message: which node, and how it was noticed.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


class ObjectLostError(RayError):
    """Every copy of an object is gone.

    Args:
        object_ref_hex: the object's id in hex.
        owner_address: the owner, if known.
        call_site: where the reference was made, if it was recorded.
    """

    def __init__(self, object_ref_hex: str, owner_address: Any, call_site: str) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.object_ref_hex = object_ref_hex
        self.owner_address = owner_address
        self.call_site = (call_site or "").replace("|", "\n  ")
        self.detail = ""

    def _base_str(self) -> str:
        origin = (
            f"The ObjectRef was created at: {self.call_site}"
            if self.call_site
            else "To see where this ObjectRef was created, set RAY_record_ref_creation_sites=1 for the program."
        )
        return f"Failed to retrieve object {self.object_ref_hex}. {origin}"

    def _reason(self) -> str:
        return f"All copies of {self.object_ref_hex} have been lost due to node failure."

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self._base_str()}\n\n{self._reason()}{detail}"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_object_error, (type(self), self.args, vars(self))


def _rebuild_object_error(
    cls: type[ObjectLostError], args: tuple[Any, ...], state: dict[str, Any]
) -> ObjectLostError:
    error = cls.__new__(cls)
    error.args = args
    error.__dict__.update(state)
    return error


class ObjectFetchTimedOutError(ObjectLostError):
    """No place that holds the object could be found in time."""

    def _reason(self) -> str:
        return f"Fetch for object {self.object_ref_hex} timed out because no locations were found for the object."


class RpcError(RayError):
    """A call between two processes of the cluster failed.

    Args:
        message: what was called and what came back.
        rpc_code: number of the failure, if there is one.
    """

    def __init__(self, message: str, rpc_code: int | None = None) -> None:
        super().__init__(message, rpc_code)
        self.message = message
        self.rpc_code = rpc_code

    def __str__(self) -> str:
        return self.message


class ReferenceCountingAssertionError(ObjectLostError, AssertionError):
    """The object was deleted while a reference to it still existed."""

    def _reason(self) -> str:
        return (
            "The object has already been deleted by the reference counting protocol. This should not happen."
        )


class ObjectFreedError(ObjectLostError):
    """The object was freed by hand."""

    def _reason(self) -> str:
        return (
            "The object was freed by an explicit call of `free`; call it only when nobody needs the object."
        )


class ObjectReconstructionFailedError(ObjectLostError):
    """The object was lost and could not be computed again.

    Args:
        object_ref_hex: the object's id in hex.
        reason: kind of the obstacle.
        reason_message: the obstacle in words.
        owner_address: the owner, if known.
        call_site: where the reference was made, if it was recorded.
    """

    def __init__(
        self,
        object_ref_hex: str,
        reason: Any = None,
        reason_message: str | None = None,
        owner_address: Any = None,
        call_site: str = "",
    ) -> None:
        super().__init__(object_ref_hex, owner_address, call_site)
        self.reason = reason
        self.reason_message = reason_message or "The engine did not say why."

    def _reason(self) -> str:
        kind = getattr(self.reason, "name", self.reason) or "UNKNOWN"
        return f"The object was lost and could not be reconstructed: [{kind}] {self.reason_message}"


class OwnerDiedError(ObjectLostError):
    """The process that owns the object died, and the object's fate with it."""

    def _reason(self) -> str:
        return (
            "The object's owner has exited: the program that created the ObjectRef with `.remote()` or `put()`. "
            "Its last output is in the session's log folder."
        )


class GetTimeoutError(RayError, TimeoutError):
    """`get` did not have the value before its timeout."""


class PlasmaObjectNotAvailable(RayError):
    """The object is not in the local store within the given time."""


class AsyncioActorExit(RayError):
    """Raised inside an async actor to leave it; see `narke.actor.exit_actor`."""


class RuntimeEnvSetupError(RayError):
    """The runtime environment of a task, an actor or the job could not be made.

    Args:
        error_message: which part failed and how.
    """

    def __init__(self, error_message: str | None = None) -> None:
        super().__init__(*([error_message] if error_message is not None else []))
        self.error_message = error_message

    def __str__(self) -> str:
        lines = ["Failed to set up runtime environment."]
        return "\n".join(lines + ([self.error_message] if self.error_message else []))


class TaskPlacementGroupRemoved(RayError):
    """The placement group that the task was to run in is gone."""

    def __str__(self) -> str:
        return _text_or(self, "The placement group corresponding to this task has been removed.")


class ActorPlacementGroupRemoved(ActorDiedError):
    """The placement group that the actor ran in, or was to run in, is gone."""

    BASE_ERROR_MSG = "The placement group corresponding to this Actor has been removed."


class PendingCallsLimitExceeded(RayError):
    """The actor has `max_pending_calls` calls waiting already."""


class LocalRayletDiedError(RayError):
    """The node process of this program's machine died."""

    def __str__(self) -> str:
        return _text_or(
            self, "The task's local node process died. node.err in the session's log folder may say why."
        )


class TaskUnschedulableError(_TextError):
    """No node can ever run the task.

    Args:
        error_message: what it asks for and what there is.
    """

    _opening = "The task is not schedulable: "


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


class ObjectRefStreamEndOfStreamError(RayError):
    """A streaming generator has no further item."""


class OufOfBandObjectRefSerializationException(RayError):
    """An ObjectRef was pickled outside of a task's arguments or `put`, where nobody counts it."""


class StreamingGeneratorReplayInconsistentError(RaySystemError):
    """A streaming generator that ran again gave other items than the first time."""


class RayChannelError(RaySystemError):
    """A channel between two actors failed."""


class RayChannelTimeoutError(RayChannelError, TimeoutError):
    """A channel between two actors had nothing to read or no room in time."""


class RayCgraphCapacityExceeded(RaySystemError):
    """More executions of a compiled graph are in flight than it allows."""


class RayDirectTransportError(RaySystemError):
    """A tensor could not be moved directly between two actors."""


class UnserializableException(RayError):
    """An exception arrived that cannot be read in this process.

    Args:
        original_stack_trace: its text.
    """

    def __init__(self, original_stack_trace: str) -> None:
        super().__init__(original_stack_trace)
        self._original_stack_trace = original_stack_trace

    def __str__(self) -> str:
        return (
            "Failed to deserialize exception: its class cannot be rebuilt here. Give the class a __reduce__ that "
            f"returns picklable arguments.\nOriginal exception:\n{self._original_stack_trace}"
        )


def _text_or(error: BaseException, default: str) -> str:
    return str(error.args[0]) if error.args else default


def engine_error(kind: str, message: str, id_hex: str = "") -> BaseException:
    """The exception for a failure that the engine found.

    Args:
        kind: name of a class of this module, or of a built-in exception such as ``ValueError``.
        message: what happened, to which object, and what to do next.
        id_hex: id of the task, actor or object it is about; empty when there is none.

    Returns:
        an instance of that class; a `RaySystemError` when the kind is unknown.
    """
    cls = _ENGINE_KINDS.get(kind)
    if cls is None:
        return RaySystemError(f"{kind}: {message}")
    if issubclass(cls, ObjectReconstructionFailedError):
        return cls(id_hex, reason=kind, reason_message=message)
    if issubclass(cls, ObjectLostError):
        error = cls(id_hex, None, "")
        error.detail = message
        return error
    if issubclass(cls, RayActorError):
        error = _rebuild_actor_error(cls, vars(RayActorError(id_hex or None, message)))
        return error
    if issubclass(cls, TaskCancelledError):
        return cls(id_hex or None, message)
    return cls(message)


def _engine_kinds() -> dict[str, Any]:
    kinds: dict[str, Any] = {name: value for name, value in globals().items() if name in __all__}
    del kinds["RAY_EXCEPTION_TYPES"], kinds["CrossLanguageError"], kinds["RayTaskError"]
    for builtin in (
        ValueError,
        TypeError,
        RuntimeError,
        ConnectionError,
        TimeoutError,
        KeyError,
        NotImplementedError,
    ):
        kinds[builtin.__name__] = builtin
    return kinds


RAY_EXCEPTION_TYPES = [
    PlasmaObjectNotAvailable,
    RayError,
    RayTaskError,
    WorkerCrashedError,
    RayActorError,
    ObjectStoreFullError,
    ObjectLostError,
    ObjectFetchTimedOutError,
    ReferenceCountingAssertionError,
    ObjectReconstructionFailedError,
    OwnerDiedError,
    GetTimeoutError,
    AsyncioActorExit,
    RuntimeEnvSetupError,
    TaskPlacementGroupRemoved,
    ActorPlacementGroupRemoved,
    PendingCallsLimitExceeded,
    LocalRayletDiedError,
    TaskUnschedulableError,
    ActorDiedError,
    ActorUnschedulableError,
    ActorUnavailableError,
    RayChannelError,
    RayChannelTimeoutError,
    OufOfBandObjectRefSerializationException,
    RayCgraphCapacityExceeded,
    UnserializableException,
    ActorAlreadyExistsError,
    ActorHandleNotFoundError,
]
_ENGINE_KINDS = _engine_kinds()
