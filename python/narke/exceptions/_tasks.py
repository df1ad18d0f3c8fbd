"""What tasks end in when it is not their own code that raised."""

from __future__ import annotations

from typing import Any

from narke.exceptions._base import RayError, _text_or, _TextError


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


class WorkerCrashedError(RayError):
    """The worker process of the task died: killed, out of memory, or crashed in native code."""

    def __str__(self) -> str:
        return _text_or(
            self,
            "The worker died unexpectedly while executing this task. Its last output is in the worker-*.err and "
            "worker-*.out files of the session's log folder.",
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


class GetTimeoutError(RayError, TimeoutError):
    """`get` did not have the value before its timeout."""


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


class TaskUnschedulableError(_TextError):
    """No node can ever run the task.

    Args:
        error_message: what it asks for and what there is.
    """

    _opening = "The task is not schedulable: "


class ObjectRefStreamEndOfStreamError(RayError):
    """A streaming generator has no further item."""


class OufOfBandObjectRefSerializationException(RayError):
    """An ObjectRef was pickled outside of a task's arguments or `put`, where nobody counts it."""


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
