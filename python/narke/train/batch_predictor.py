"""Predicting over whole datasets, by a pool of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.train.predictor import Predictor

if TYPE_CHECKING:
    import pandas as pd

    from narke.data.dataset import Dataset
    from narke.train._checkpoint import Checkpoint

__all__ = ["BatchPredictor"]


class BatchPredictor:
    """Predicts over datasets with the model of a checkpoint.

    Args:
        checkpoint: with the model.
        predictor_cls: which reads it.
        predictor_kwargs: of its `from_checkpoint`.
    """

    def __init__(
        self, checkpoint: Checkpoint, predictor_cls: type[Predictor], **predictor_kwargs: Any
    ) -> None:
        self._checkpoint = checkpoint
        self._predictor_cls = predictor_cls
        self._predictor_kwargs = predictor_kwargs
        self._preprocessor: Any = None
        self._has_preprocessor = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(checkpoint={self._checkpoint}, predictor_cls={self._predictor_cls.__name__})"

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, predictor_cls: type[Predictor], **kwargs: Any
    ) -> BatchPredictor:
        """The same as the constructor."""
        return cls(checkpoint, predictor_cls, **kwargs)

    @classmethod
    def from_pandas_udf(cls, pandas_udf: Any) -> BatchPredictor:
        """A predictor that calls a function on data frames.

        Args:
            pandas_udf: from a data frame to one of predictions.
        """
        from narke.train._checkpoint import Checkpoint

        return cls(Checkpoint.from_dict({}), _UdfPredictor, pandas_udf=pandas_udf)

    def get_preprocessor(self) -> Any:
        """The preprocessor that is applied: the checkpoint's, or the one set."""
        return self._preprocessor if self._has_preprocessor else self._checkpoint.get_preprocessor()

    def set_preprocessor(self, preprocessor: Any) -> None:
        """Apply another preprocessor, or None."""
        self._preprocessor, self._has_preprocessor = preprocessor, True

    def predict(
        self,
        data: Dataset,
        *,
        feature_columns: list[str] | None = None,
        keep_columns: list[str] | None = None,
        batch_size: int = 4096,
        min_scoring_workers: int = 1,
        max_scoring_workers: int | None = None,
        num_cpus_per_worker: float | None = None,
        num_gpus_per_worker: float | None = None,
        separate_gpu_stage: bool = True,
        ray_remote_args: dict[str, Any] | None = None,
        **predict_kwargs: Any,
    ) -> Dataset:
        """Predict for all rows.

        Args:
            data: dataset.
            feature_columns: to predict from; all if None.
            keep_columns: to keep beside the predictions.
            batch_size: rows that a worker predicts for at once.
            min_scoring_workers, max_scoring_workers: how many workers; as many as are useful if None.
            num_cpus_per_worker, num_gpus_per_worker: what each holds; one CPU, no GPU if None.
            separate_gpu_stage: preprocess beside the GPUs' workers.
            ray_remote_args: further options of the workers.
            predict_kwargs: of the predictor.

        Returns:
            a dataset of the predictions in the same order.
        """
        from narke.data import ActorPoolStrategy

        gpus = num_gpus_per_worker or 0
        preprocessor = self.get_preprocessor()
        options = dict(ray_remote_args or {})
        apart = preprocessor is not None and gpus > 0 and separate_gpu_stage
        if apart:
            data = preprocessor.transform(data)
        scorer = {
            "checkpoint": self._checkpoint,
            "predictor_cls": self._predictor_cls,
            "predictor_kwargs": self._predictor_kwargs,
            "preprocessor": None if apart else preprocessor,
            "feature_columns": feature_columns,
            "keep_columns": keep_columns,
            "predict_kwargs": predict_kwargs,
        }
        if num_cpus_per_worker is not None:
            options["num_cpus"] = num_cpus_per_worker
        if gpus:
            options["num_gpus"] = gpus
        return data.map_batches(
            _Scorer,
            fn_constructor_kwargs=scorer,
            compute=ActorPoolStrategy(min_size=min_scoring_workers, max_size=max_scoring_workers),
            batch_size=batch_size,
            batch_format="pandas",
            **options,
        )

    def predict_pipelined(
        self,
        data: Dataset,
        *,
        blocks_per_window: int | None = None,
        bytes_per_window: int | None = None,
        **kwargs: Any,
    ) -> Dataset:
        """The same as `predict`: datasets are run piece by piece anyway.

        Args:
            data: dataset.
            blocks_per_window, bytes_per_window: sizes of pieces, which the data's run chooses itself.
            kwargs: see `predict`.
        """
        return self.predict(data, **kwargs)


class _Scorer:
    """Predicts for batches, in a worker."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        predictor_cls: type[Predictor],
        predictor_kwargs: dict[str, Any],
        preprocessor: Any,
        feature_columns: list[str] | None,
        keep_columns: list[str] | None,
        predict_kwargs: dict[str, Any],
    ) -> None:
        self._predictor = predictor_cls.from_checkpoint(checkpoint, **predictor_kwargs)
        self._predictor.set_preprocessor(preprocessor)
        self._features, self._kept, self._more = feature_columns, keep_columns, predict_kwargs

    def __call__(self, batch: pd.DataFrame) -> pd.DataFrame:
        inputs = batch[self._features] if self._features else batch
        found = self._predictor.predict(inputs, **self._more)
        if self._kept:
            found = found.assign(**{name: batch[name].to_numpy() for name in self._kept})
        return found.reset_index(drop=True)


class _UdfPredictor(Predictor):
    """Calls a function of data frames."""

    def __init__(self, pandas_udf: Any) -> None:
        super().__init__()
        self._udf = pandas_udf

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, **kwargs: Any) -> Any:
        return cls(**kwargs)

    def _predict_pandas(self, data: pd.DataFrame, **kwargs: Any) -> pd.DataFrame:
        return self._udf(data, **kwargs)
