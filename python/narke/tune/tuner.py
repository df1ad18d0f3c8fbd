"""`Tuner`: a search that can be restored."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from narke._private import preloads
from narke.tune.impl.tuner_internal import TunerInternal
from narke.tune.result_grid import ResultGrid
from narke.tune.tune_config import ResumeConfig, TuneConfig

if TYPE_CHECKING:
    from narke.air.config import RunConfig

__all__ = ["Tuner"]

ClientActorHandle = Any


class Tuner:
    """Runs trials of a trainable over a search space.

    Args:
        trainable: a function of the configuration, a class derived from `Trainable`, a registered name, or a trainer.
        param_space: configuration with search spaces. For a trainer: its parameters ("params", "train_loop_config",
            "scaling_config", "datasets", ...).
        tune_config: how the search is run.
        run_config: name, storage, failures, checkpoints, callbacks.

    Raises:
        TypeError, ValueError: an argument is not what it must be.
    """

    def __init__(
        self,
        trainable: Any = None,
        *,
        param_space: dict[str, Any] | None = None,
        tune_config: TuneConfig | None = None,
        run_config: RunConfig | None = None,
        _tuner_kwargs: dict | None = None,
        _tuner_internal: TunerInternal | None = None,
        _entrypoint: Any = None,
    ) -> None:
        self._local_tuner = _tuner_internal or TunerInternal(
            trainable=trainable,
            param_space=param_space,
            tune_config=tune_config,
            run_config=run_config,
            _tuner_kwargs=_tuner_kwargs,
        )

    @classmethod
    def restore(
        cls,
        path: str | os.PathLike,
        trainable: Any,
        resume_unfinished: bool = True,
        resume_errored: bool = False,
        restart_errored: bool = False,
        param_space: dict[str, Any] | None = None,
        storage_filesystem: Any = None,
        _resume_config: ResumeConfig | None = None,
    ) -> Tuner:
        """The tuner of an experiment that was interrupted; its `fit` goes on with it.

        Args:
            path: the experiment's folder or URI.
            trainable: the same as before.
            resume_unfinished: go on with trials that had not ended, from their last checkpoints.
            resume_errored: go on with trials that failed, from their last checkpoints.
            restart_errored: begin trials that failed anew.
            param_space: the same as before, when it holds references to objects of the cluster that is gone.
            storage_filesystem: on which the path lies.

        Raises:
            ValueError: there is no such experiment, or trainable or space differ.
        """
        kinds = ResumeConfig.ResumeType
        errored = kinds.SKIP
        if resume_errored:
            errored = kinds.RESUME
        elif restart_errored:
            errored = kinds.RESTART
        policy = _resume_config or ResumeConfig(
            unfinished=kinds.RESUME if resume_unfinished else kinds.SKIP, errored=errored
        )
        internal = TunerInternal(
            restore_path=os.fspath(path),
            storage_filesystem=storage_filesystem,
            resume_config=policy,
            trainable=trainable,
            param_space=param_space,
        )
        return cls(_tuner_internal=internal)

    @classmethod
    def can_restore(cls, path: str | os.PathLike, storage_filesystem: Any = None) -> bool:
        """Whether there is an experiment of a tuner.

        Args:
            path: its folder or URI.
            storage_filesystem: on which the path lies.
        """
        return TunerInternal.is_at(os.fspath(path), storage_filesystem)

    def fit(self) -> ResultGrid:
        """Run all trials to the end.

        Trials that fail are in the results; they raise nothing, unless ``FailureConfig(fail_fast="raise")``.

        Returns:
            their results.

        Raises:
            TuneError: a result lacks the metric.
        """
        return self._local_tuner.fit()

    def get_results(self) -> ResultGrid:
        """The results of `fit`, or of a restored experiment.

        Raises:
            RuntimeError: there are none yet.
        """
        return self._local_tuner.get_results()

    def __repr__(self) -> str:
        internal = self._local_tuner
        return f"Tuner(trainable={internal.trainable!r}, param_space={internal.param_space!r})"


preloads.expect(preloads.TUNE)
