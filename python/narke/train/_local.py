"""Training functions in this process, without workers: ScalingConfig(num_workers=0)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.train import _session
from narke.train._controller import Outcome
from narke.train.context import LocalContext

__all__ = ["LocalSession", "run_here"]


class LocalSession:
    """See `narke.train._session.Session`; nothing is stored.

    Args:
        name: of the run.
        datasets: by name; the function gets all of each.
        checkpoint: to begin from.
    """

    def __init__(self, name: str, datasets: dict[str, Any], checkpoint: Any) -> None:
        self._name, self._datasets, self._checkpoint = name, datasets, checkpoint
        self.rows: list[dict[str, Any]] = []

    def report(self, metrics: dict[str, Any], *, checkpoint: Any = None, **options: Any) -> None:
        self.rows.append(dict(metrics))
        if checkpoint is not None:
            self._checkpoint = checkpoint

    def get_checkpoint(self) -> Any:
        return self._checkpoint

    def get_dataset_shard(self, name: str | None = None) -> Any:
        if (name or "train") not in self._datasets:
            raise KeyError(f"the trainer has no dataset {name or 'train'!r}; it has {sorted(self._datasets)}")
        return self._datasets[name or "train"].iterator()

    def get_context(self) -> LocalContext:
        return LocalContext(self._name)

    def get_all_reported_checkpoints(self, consistency_mode: Any, timeout_s: float | None) -> list[Any]:
        return []

    def get_preemption_info(self) -> None:
        return None

    def exchange(self, kind: str, value: Any) -> Any:
        return value


def run_here(function: Callable[[], Any], session: LocalSession, around: Any) -> Outcome:
    """Call a training function in this process; errors go up to the caller.

    Args:
        function: takes no arguments.
        session: of the run.
        around: makes a context manager in which it runs.
    """
    before = _session.set_current(session)
    try:
        with around():
            value = function()
    finally:
        _session.set_current(before)
    return Outcome(metrics=session.rows[-1] if session.rows else None, rows=session.rows, value=value)
