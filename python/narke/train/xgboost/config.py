"""XGBoost's communicator on the workers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from narke.train.backend import Backend, BackendConfig

__all__ = ["XGBoostConfig"]

_START_S = 60


@dataclass
class XGBoostConfig(BackendConfig):
    """Settings of XGBoost's communicator.

    Args:
        xgboost_communicator: "rabit" is the only one.

    Raises:
        NotImplementedError: another communicator.
    """

    xgboost_communicator: str = "rabit"

    def __post_init__(self) -> None:
        if self.xgboost_communicator != "rabit":
            raise NotImplementedError(
                f"XGBoostConfig.xgboost_communicator is {self.xgboost_communicator!r}; only 'rabit' works"
            )

    @property
    def backend_cls(self) -> type[Backend]:
        return _RabitBackend

    @property
    def train_func_context(self) -> Any:
        return _communicating

    @property
    def framework(self) -> str:
        return "xgboost"


class _RabitBackend(Backend):
    def on_start(self, worker_group: Any, backend_config: XGBoostConfig) -> None:
        if len(worker_group) < 2:
            return
        import narke

        told = worker_group.execute_single(0, _start_tracker, len(worker_group))
        refs = [
            worker_group.execute_single_async(rank, _be_told, {**told, "dmlc_task_id": f"[rank={rank:08d}]"})
            for rank in range(len(worker_group))
        ]
        narke.get(refs, timeout=_START_S)


# In a worker's process: the tracker, in that of rank 0, and what the communicator is made with.
_tracker: Any = None
_arguments: dict[str, Any] = {}


def _start_tracker(workers: int) -> dict[str, Any]:
    global _tracker
    from xgboost.tracker import RabitTracker

    import narke

    _tracker = RabitTracker(n_workers=workers, host_ip=narke.util.get_node_ip_address())
    _tracker.start()
    return _tracker.worker_args()


def _be_told(arguments: dict[str, Any]) -> None:
    _arguments.clear()
    _arguments.update(arguments)


@contextlib.contextmanager
def _communicating() -> Iterator[None]:
    if not _arguments:
        yield
        return
    from xgboost.collective import CommunicatorContext

    with CommunicatorContext(**_arguments):
        yield
