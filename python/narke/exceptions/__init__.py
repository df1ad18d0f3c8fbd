"""The exceptions that tasks, actors and objects end in.

Every class derives from `RayError`. A failure of the user's own code arrives as a `RayTaskError` that is also an
instance of the original exception's class, so ``except ValueError`` works across processes.
"""

from __future__ import annotations

from typing import Any

from narke.exceptions._actors import (
    ActorAlreadyExistsError,
    ActorDiedError,
    ActorHandleNotFoundError,
    ActorPlacementGroupRemoved,
    ActorUnavailableError,
    ActorUnschedulableError,
    AsyncioActorExit,
    PendingCallsLimitExceeded,
    RayActorError,
    _rebuild_actor_error,
)
from narke.exceptions._base import CrossLanguageError, RayError, UserCodeException
from narke.exceptions._objects import (
    ObjectFetchTimedOutError,
    ObjectFreedError,
    ObjectLostError,
    ObjectReconstructionFailedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OwnerDiedError,
    PlasmaObjectNotAvailable,
    ReferenceCountingAssertionError,
)
from narke.exceptions._system import (
    AuthenticationError,
    LocalRayletDiedError,
    NodeDiedError,
    RayCgraphCapacityExceeded,
    RayChannelError,
    RayChannelTimeoutError,
    RayDirectTransportError,
    RaySystemError,
    RpcError,
    StreamingGeneratorReplayInconsistentError,
)
from narke.exceptions._task_error import RayTaskError
from narke.exceptions._tasks import (
    GetTimeoutError,
    ObjectRefStreamEndOfStreamError,
    OufOfBandObjectRefSerializationException,
    OutOfMemoryError,
    RuntimeEnvSetupError,
    TaskCancelledError,
    TaskPlacementGroupRemoved,
    TaskUnschedulableError,
    UnserializableException,
    WorkerCrashedError,
)

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


def engine_error(kind: str, message: str, id_hex: str = "") -> BaseException:
    """The exception for a failure that the engine found.

    Args:
        kind: name of a class of this module, or of a built-in exception such as ``ValueError``; for an actor's end
            with ":preempted" when its node was taken away.
        message: what happened, to which object, and what to do next.
        id_hex: id of the task, actor or object it is about; empty when there is none.

    Returns:
        an instance of that class; a `RaySystemError` when the kind is unknown.
    """
    kind, _, note = kind.partition(":")
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
        error = _rebuild_actor_error(
            cls, vars(RayActorError(id_hex or None, message, preempted=note == "preempted"))
        )
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
for _name in __all__:  # people read them, and pickles name them, without the file they stand in
    if _name != "RAY_EXCEPTION_TYPES":
        globals()[_name].__module__ = __name__
