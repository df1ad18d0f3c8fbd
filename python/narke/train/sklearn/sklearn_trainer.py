"""The trainer for scikit-learn."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Union

from narke.train._frames import frame_of
from narke.train.base_trainer import BaseTrainer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from sklearn.base import BaseEstimator
    from sklearn.model_selection import BaseCrossValidator

__all__ = ["ArrayType", "CVType", "MetricType", "ScoringType", "SklearnTrainer", "set_cpus"]

ArrayType = Union["pd.DataFrame", "np.ndarray"]
# A name of scikit-learn's, or a function of estimator, features and labels.
MetricType = Union[str, Callable[["BaseEstimator", ArrayType, ArrayType], float]]  # noqa: UP007
ScoringType = Union[MetricType, Iterable[MetricType], dict[str, MetricType]]  # noqa: UP007
CVType = Union[int, Iterable, "BaseCrossValidator"]


class SklearnTrainer(BaseTrainer):
    """Fits an estimator on ``datasets["train"]`` in one worker, scores it on the other datasets.

    Args:
        estimator: unfitted.
        datasets: by name.
        label_column: the target; None for estimators that need none.
        params: set on the estimator first.
        scoring: as in scikit-learn: None, a name, names, a function, or {name: function}.
        cv: folds of a cross-validation that is scored too.
        return_train_score_cv: with scores on the training folds.
        parallelize_cv: run the folds side by side; by default if the estimator itself uses one CPU.
        set_estimator_cpus: let the estimator use all CPUs of the worker (its n_jobs).
        scaling_config: its trainer_resources are the worker's.
        run_config, preprocessor, metadata: see `BaseTrainer`.
        fit_params: of the estimator's fit.
    """

    def __init__(
        self,
        *,
        estimator: Any,
        datasets: dict[str, Any],
        label_column: str | None = None,
        params: dict[str, Any] | None = None,
        scoring: ScoringType | None = None,
        cv: CVType | None = None,
        return_train_score_cv: bool = False,
        parallelize_cv: bool | None = None,
        set_estimator_cpus: bool = True,
        scaling_config: Any = None,
        run_config: Any = None,
        preprocessor: Any = None,
        metadata: dict[str, Any] | None = None,
        **fit_params: Any,
    ) -> None:
        if "train" not in datasets:
            raise ValueError(f"SklearnTrainer fits on the dataset 'train'; datasets= has {sorted(datasets)}")
        if fit_params.pop("resume_from_checkpoint", None) is not None:
            raise AttributeError("SklearnTrainer fits in one go: it cannot go on from a checkpoint")
        super().__init__(
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            metadata=metadata,
            preprocessor=preprocessor,
        )
        self.estimator = estimator
        self.label_column = label_column
        self.params = params
        self.scoring = scoring
        self.cv = cv
        self.return_train_score_cv = return_train_score_cv
        self.parallelize_cv = parallelize_cv
        self.set_estimator_cpus = set_estimator_cpus
        self.fit_params = fit_params

    def _bundle(self) -> dict[str, float]:
        return dict(self.scaling_config.trainer_resources or {"CPU": 1})  # type: ignore[arg-type]

    def training_loop(self) -> None:
        """Fit, score and report."""
        from narke.train import Checkpoint, report
        from narke.train.sklearn.sklearn_checkpoint import SklearnCheckpoint

        frames = {name: self._split(frame_of(data)) for name, data in self.datasets.items()}
        features, label = frames.pop("train")
        if self.params:
            self.estimator.set_params(**self.params)
        cpus = int(self._bundle().get("CPU", 1) or 1)
        if self.set_estimator_cpus:
            set_cpus(self.estimator, cpus)
        metrics: dict[str, Any] = {"cv": self._cross_validated(features, label, cpus)} if self.cv else {}
        began = time.perf_counter()
        self.estimator.fit(features, label, **self.fit_params)
        metrics["fit_time"] = time.perf_counter() - began
        metrics.update({name: self._scores(*frame) for name, frame in frames.items()})
        with tempfile.TemporaryDirectory() as folder:
            SklearnCheckpoint.from_estimator(self.estimator, path=folder)
            report(metrics, checkpoint=Checkpoint.from_directory(folder))

    def _split(self, frame: pd.DataFrame) -> tuple[Any, Any]:
        if self.label_column is None:
            return frame, None
        return frame.drop(columns=[self.label_column]), frame[self.label_column]

    def _scorers(self) -> dict[str, Any]:
        from sklearn.metrics import check_scoring, get_scorer

        if isinstance(self.scoring, dict):
            return {
                name: get_scorer(each) if isinstance(each, str) else each
                for name, each in self.scoring.items()
            }
        if isinstance(self.scoring, (list, tuple, set)):
            return {name: get_scorer(name) for name in self.scoring}
        return {"score": check_scoring(self.estimator, scoring=self.scoring)}

    def _scores(self, features: Any, label: Any) -> dict[str, float]:
        began = time.perf_counter()
        found = {
            f"test_{name}": float(each(self.estimator, features, label))
            for name, each in self._scorers().items()
        }
        return {"score_time": time.perf_counter() - began, **found}

    def _cross_validated(self, features: Any, label: Any, cpus: int) -> dict[str, Any]:
        import numpy as np
        from sklearn.base import clone
        from sklearn.model_selection import cross_validate

        beside = self.parallelize_cv if self.parallelize_cv is not None else not has_cpus(self.estimator)
        estimator = clone(self.estimator)
        if beside:
            set_cpus(estimator, 1)
        scoring = self.scoring if isinstance(self.scoring, (dict, list, tuple, set)) else self._scorers()
        found = cross_validate(
            estimator,
            features,
            label,
            cv=self.cv,
            scoring=scoring,
            n_jobs=cpus if beside else 1,
            return_train_score=self.return_train_score_cv,
            params=self.fit_params or None,
        )
        return {
            **found,
            **{f"{name}_mean": float(np.mean(each)) for name, each in found.items()},
            **{f"{name}_std": float(np.std(each)) for name, each in found.items()},
        }


def has_cpus(estimator: Any) -> bool:
    """Whether an estimator, or one inside it, can use several CPUs."""
    return any(name == "n_jobs" or name.endswith("__n_jobs") for name in estimator.get_params(deep=True))


def set_cpus(estimator: Any, cpus: int) -> None:
    """Let an estimator, and those inside it, use so many CPUs."""
    names = [
        each for each in estimator.get_params(deep=True) if each == "n_jobs" or each.endswith("__n_jobs")
    ]
    estimator.set_params(**dict.fromkeys(names, cpus))
