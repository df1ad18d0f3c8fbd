"""What a finished run gives back."""

from __future__ import annotations

import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narke.air.constants import (
    EXPR_ERROR_PICKLE_FILE,
    EXPR_PARAM_FILE,
    EXPR_PARAM_PICKLE_FILE,
    EXPR_PROGRESS_FILE,
    EXPR_RESULT_FILE,
)

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow.fs

    from narke.train._checkpoint import Checkpoint

__all__ = ["Result"]


@dataclass
class Result:
    """What a run or trial ended with.

    Args:
        metrics: the last reported, with what was filled in beside them.
        checkpoint: the last, None if there is none.
        error: what the run failed with, None if it did not.
        path: the run's folder, a path of `filesystem`.
        metrics_dataframe: a row for each report.
        best_checkpoints: (checkpoint, its metrics) of those that were kept.
    """

    metrics: dict[str, Any] | None
    checkpoint: Checkpoint | None
    error: Exception | None
    path: str
    metrics_dataframe: pd.DataFrame | None = None
    best_checkpoints: list[tuple[Checkpoint, dict[str, Any]]] | None = None
    _storage_filesystem: pyarrow.fs.FileSystem | None = None

    def __repr__(self) -> str:
        from narke.tune.experimental.output import BLACKLISTED_KEYS
        from narke.tune.result import AUTO_RESULT_KEYS

        parts = [] if self.error is None else [f"error={type(self.error).__name__!r}"]
        shown = self.metrics
        if shown:
            hidden = {*AUTO_RESULT_KEYS, *BLACKLISTED_KEYS}
            shown = {key: value for key, value in shown.items() if key not in hidden}
        parts += [f"metrics={shown!r}", f"path={self.path!r}"]
        parts += [f"filesystem={self.filesystem.type_name!r}", f"checkpoint={self.checkpoint!r}"]
        return f"{Result.__name__}(\n" + ",\n".join(f"  {part}" for part in parts) + "\n)"

    @property
    def config(self) -> dict[str, Any] | None:
        """The configuration of the run's trial, from its metrics."""
        return (self.metrics or {}).get("config")

    @property
    def filesystem(self) -> pyarrow.fs.FileSystem:
        """The filesystem that `path` lies on."""
        import pyarrow.fs

        return self._storage_filesystem or pyarrow.fs.LocalFileSystem()

    @property
    def log_dir(self) -> Path | None:
        """`path`, under its name of the AIR time."""
        return Path(self.path) if self.path else None

    def get_best_checkpoint(self, metric: str, mode: str) -> Checkpoint | None:
        """The kept checkpoint with the best value of a metric.

        Args:
            metric: its name; "a/b" looks into nested metrics.
            mode: "max" or "min".

        Returns:
            None if no checkpoint was kept.

        Raises:
            ValueError: another mode.
            RuntimeError: no kept checkpoint has the metric.
        """
        if mode not in ("max", "min"):
            raise ValueError(f"mode is {mode!r}; it must be 'max' or 'min'")
        if not self.best_checkpoints:
            return None
        scored = [(_nested(metrics, metric), checkpoint) for checkpoint, metrics in self.best_checkpoints]
        scored = [(value, checkpoint) for value, checkpoint in scored if value is not None and value == value]
        if not scored:
            known = sorted({key for _, metrics in self.best_checkpoints for key in metrics})
            raise RuntimeError(f"no checkpoint has a number for the metric {metric!r}; reported were {known}")
        return (max if mode == "max" else min)(scored, key=lambda each: each[0])[1]

    @classmethod
    def from_path(cls, path: str, storage_filesystem: Any = None) -> Any:
        """The result of a trial or run that was stored.

        Args:
            path: its folder or URI.
            storage_filesystem: pyarrow's or fsspec's, on which `path` lies.

        Raises:
            RuntimeError: the folder is not there, or holds no results.
        """
        from narke.train import _snapshot
        from narke.train._storage import exists, filesystem_and_path

        filesystem, inner = filesystem_and_path(path, storage_filesystem)
        if not exists(filesystem, inner):
            raise RuntimeError(f"there is no result at {path!r}: the folder does not exist")
        snapshot = _snapshot.load(filesystem, inner)
        parts = (
            _from_trial_folder(filesystem, inner)
            if snapshot is None
            else _snapshot.result_parts(snapshot, filesystem, inner)
        )
        return cls(path=inner, _storage_filesystem=filesystem, **parts)


def _nested(metrics: dict[str, Any], name: str) -> Any:
    if name in metrics:
        return metrics[name]
    value: Any = metrics
    for part in name.split("/"):
        if not isinstance(value, dict) or part not in value:
            return None
        value = value[part]
    return value


def _from_trial_folder(filesystem: pyarrow.fs.FileSystem, path: str) -> dict[str, Any]:
    """The parts of a result that a trial's files tell."""
    from narke.train._checkpoint import Checkpoint
    from narke.train._storage import list_folder

    names = list_folder(filesystem, path)
    frame, rows = _reports(filesystem, path, names)
    metrics = dict(rows[-1]) if rows else {}
    config = _config(filesystem, path, names)
    if config is not None:
        metrics.setdefault("config", config)
    by_folder = {row.get("checkpoint_dir_name"): row for row in rows}
    folders = [name for name in names if name.startswith("checkpoint_")]
    best = [(Checkpoint(f"{path}/{name}", filesystem), by_folder.get(name, {})) for name in folders]
    return {
        "metrics": metrics,
        "metrics_dataframe": frame,
        "checkpoint": best[-1][0] if best else None,
        "best_checkpoints": best,
        "error": _error(filesystem, path, names),
    }


def _reports(
    filesystem: pyarrow.fs.FileSystem, path: str, names: list[str]
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    import pandas as pd

    from narke.train._storage import read_bytes

    if EXPR_RESULT_FILE in names:
        text = read_bytes(filesystem, f"{path}/{EXPR_RESULT_FILE}").decode()
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        return pd.json_normalize(rows, sep="/"), rows
    if EXPR_PROGRESS_FILE in names:
        import io

        frame = pd.read_csv(io.BytesIO(read_bytes(filesystem, f"{path}/{EXPR_PROGRESS_FILE}")))
        return frame, frame.to_dict(orient="records")
    if not any(name.startswith("checkpoint_") or name == EXPR_ERROR_PICKLE_FILE for name in names):
        raise RuntimeError(f"{path!r} holds no results: neither {EXPR_RESULT_FILE} nor {EXPR_PROGRESS_FILE}")
    return pd.DataFrame(), []


def _config(filesystem: pyarrow.fs.FileSystem, path: str, names: list[str]) -> dict[str, Any] | None:
    from narke import cloudpickle
    from narke.train._storage import read_bytes

    if EXPR_PARAM_PICKLE_FILE in names:
        return cloudpickle.loads(read_bytes(filesystem, f"{path}/{EXPR_PARAM_PICKLE_FILE}"))
    if EXPR_PARAM_FILE in names:
        return json.loads(read_bytes(filesystem, f"{path}/{EXPR_PARAM_FILE}"))
    return None


def _error(filesystem: pyarrow.fs.FileSystem, path: str, names: list[str]) -> Exception | None:
    from narke.train._storage import read_bytes

    if EXPR_ERROR_PICKLE_FILE not in names:
        return None
    return pickle.loads(read_bytes(filesystem, f"{path}/{EXPR_ERROR_PICKLE_FILE}"))
