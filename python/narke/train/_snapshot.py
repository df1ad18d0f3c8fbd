"""The file that tells which checkpoints of a run are complete.

``checkpoint_manager_snapshot.json`` in the run's folder is written in one piece after each change. A checkpoint folder
that it does not name is what a failure left behind. Its first four entries are Ray's, what follows is Narke's own.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from narke.train._storage import exists, read_bytes, write_bytes

if TYPE_CHECKING:
    import pyarrow.fs

__all__ = ["FILE", "Entry", "Snapshot", "load", "result_parts", "save"]

FILE = "checkpoint_manager_snapshot.json"


@dataclass
class Entry:
    """One complete checkpoint.

    Args:
        checkpoint_dir_name: its folder in the run's folder.
        metrics: reported with it, as far as JSON holds them.
        index: of the report, counted over all attempts of the run.
        status: of `ReportedCheckpointStatus`, by name.
        path: where it is if not in the run's folder.
    """

    checkpoint_dir_name: str
    metrics: dict[str, Any]
    index: int = 0
    status: str = "COMMITTED"
    path: str | None = None

    def where(self, folder: str) -> str:
        """The checkpoint's folder, given the run's."""
        return self.path or f"{folder}/{self.checkpoint_dir_name}"


@dataclass
class Snapshot:
    """The state of a run's checkpoints.

    Args:
        checkpoint_results: kept ones, the best last.
        latest_checkpoint_result: the last one, None before the first.
        reports: how many reports the run had in all its attempts.
        checkpoints: how many checkpoints it had.
        last_metrics: of the last report.
        finished: whether the run ended by itself.
        error: text of what it ended with.
    """

    checkpoint_results: list[Entry] = field(default_factory=list)
    latest_checkpoint_result: Entry | None = None
    reports: int = 0
    checkpoints: int = 0
    last_metrics: dict[str, Any] = field(default_factory=dict)
    finished: bool = False
    error: str | None = None


def save(snapshot: Snapshot, filesystem: pyarrow.fs.FileSystem, folder: str) -> None:
    """Store the snapshot in a run's folder, in one piece.

    Raises:
        OSError: it cannot be written; the former one is still there.
    """
    text = json.dumps(_plain(asdict(snapshot)), indent=1)
    write_bytes(filesystem, f"{folder}/{FILE}", text.encode())


def load(filesystem: pyarrow.fs.FileSystem, folder: str) -> Snapshot | None:
    """The snapshot in a run's folder; None if there is none.

    Raises:
        ValueError: the file is damaged; the text names it.
    """
    path = f"{folder}/{FILE}"
    if not exists(filesystem, path):
        return None
    try:
        data = json.loads(read_bytes(filesystem, path))
        known = {name: data[name] for name in Snapshot.__dataclass_fields__ if name in data}
        known["checkpoint_results"] = [_entry(each) for each in data["checkpoint_results"]]
        latest = data.get("latest_checkpoint_result")
        known["latest_checkpoint_result"] = _entry(latest) if latest else None
        return Snapshot(**known)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the snapshot {path!r} is damaged ({error}): choose another run name") from error


def result_parts(snapshot: Snapshot, filesystem: pyarrow.fs.FileSystem, folder: str) -> dict[str, Any]:
    """What a `Result` of the run holds besides its path."""
    import pandas as pd

    from narke.train._checkpoint import Checkpoint

    best = [
        (Checkpoint(each.where(folder), filesystem), each.metrics) for each in snapshot.checkpoint_results
    ]
    latest = snapshot.latest_checkpoint_result
    rows = sorted(snapshot.checkpoint_results, key=lambda each: each.index)
    return {
        "metrics": dict(latest.metrics if latest else snapshot.last_metrics) or None,
        "checkpoint": Checkpoint(latest.where(folder), filesystem) if latest else None,
        "best_checkpoints": best,
        "metrics_dataframe": pd.DataFrame([each.metrics for each in rows]) if rows else None,
        "error": RuntimeError(snapshot.error) if snapshot.error else None,
    }


def _entry(data: dict[str, Any]) -> Entry:
    return Entry(**{name: data[name] for name in Entry.__dataclass_fields__ if name in data})


def _plain(value: Any) -> Any:
    """The value as JSON holds it: numpy's numbers as Python's, NaN kept, other objects as text."""
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else float(value)
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "size", 1) == 1:
        return _plain(item())
    tolist = getattr(value, "tolist", None)
    return _plain(tolist()) if tolist is not None else repr(value)
