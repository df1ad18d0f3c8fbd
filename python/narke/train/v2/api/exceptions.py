"""What a training run can fail with."""

from __future__ import annotations

from typing import Any

__all__ = [
    "ControllerError",
    "NCCLHangError",
    "PreemptionError",
    "TrainingFailedError",
    "WorkerGroupError",
]


class TrainingFailedError(RuntimeError):
    """Training has failed, and not as a whole begun again."""


class WorkerGroupError(TrainingFailedError):
    """Workers have failed.

    Args:
        error_message: what happened.
        worker_failures: the error of each failed rank.
    """

    def __init__(self, error_message: str, worker_failures: dict[int, Exception]) -> None:
        super().__init__(error_message)
        self._error_message = error_message
        self.worker_failures = worker_failures

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self._error_message, self.worker_failures))


class NCCLHangError(WorkerGroupError):
    """A collective of NCCL made no progress and was aborted."""


class ControllerError(TrainingFailedError):
    """The run could not be conducted, for instance because its workers could not be started.

    Args:
        controller_failure: why.
    """

    def __init__(self, controller_failure: Exception) -> None:
        super().__init__(f"the training run could not go on: {controller_failure}")
        self.controller_failure = controller_failure

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.controller_failure,))


class PreemptionError(TrainingFailedError):
    """Nodes of the run were taken away on notice.

    Args:
        preemption_info: which, and when.
        drain_timed_out: whether the workers did not end in time.
    """

    def __init__(self, preemption_info: Any, drain_timed_out: bool = False) -> None:
        super().__init__(
            f"nodes were preempted: {preemption_info}" + (", workers did not end in time" * drain_timed_out)
        )
        self.preemption_info = preemption_info
        self.drain_timed_out = drain_timed_out

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.preemption_info, self.drain_timed_out))
