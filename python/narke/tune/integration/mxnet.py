"""Callbacks for MXNet's ``Module.fit`` in a trial; none of this imports MXNet."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["TuneCallback", "TuneCheckpointCallback", "TuneReportCallback"]


class TuneCallback:
    """What `Module.fit` calls."""

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Refused: subclasses say what is done.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(f"{type(self).__name__} is called by MXNet and must define __call__")


class TuneReportCallback(TuneCallback):
    """An ``eval_end_callback`` that reports the metrics of an evaluation.

    Args:
        metrics: a name or names, or {reported name: MXNet's}; all if None.
    """

    def __init__(self, metrics: str | list[str] | dict[str, str] | None = None) -> None:
        self._metrics = [metrics] if isinstance(metrics, str) else metrics

    def __call__(self, param: Any) -> None:
        """Report.

        Args:
            param: MXNet's ``BatchEndParam``, with `eval_metric`.
        """
        from narke.tune.trainable.trainable_fn_utils import report

        found = dict(param.eval_metric.get_name_value())
        names = self._metrics or list(found)
        wanted = names if isinstance(names, dict) else {name: name for name in names}
        report({shown: found[name] for shown, name in wanted.items()})


class TuneCheckpointCallback(TuneCallback):
    """An ``epoch_end_callback`` that checkpoints; the checkpoint goes with the next report.

    Args:
        filename: prefix of MXNet's files in the checkpoint.
        frequency: a checkpoint at every so many epochs.
    """

    def __init__(self, filename: str = "checkpoint", frequency: int = 1) -> None:
        self._filename = filename
        self._frequency = frequency

    def __call__(self, epoch: int, sym: Any, arg: Any, aux: Any) -> None:
        """Checkpoint.

        Args:
            epoch: number of the epoch.
            sym: the network, or None.
            arg, aux: its parameters.

        Raises:
            ImportError: MXNet is not installed.
        """
        if epoch % self._frequency:
            return
        from narke.tune.search._space_searcher import library
        from narke.tune.trainable.session import checkpoint_dir

        model = library("TuneCheckpointCallback", "mxnet", "mxnet.model")
        with checkpoint_dir(step=epoch) as folder:
            model.save_checkpoint(os.path.join(folder, self._filename), epoch, sym, arg, aux)
