"""Predicting with pipelines of Transformers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.train._predicting import TablePredictor

if TYPE_CHECKING:
    import pandas as pd

    from narke.train._checkpoint import Checkpoint

__all__ = ["TransformersPredictor"]


class TransformersPredictor(TablePredictor):
    """Predicts with a pipeline.

    Args:
        pipeline: of Transformers.
        preprocessor: applied to each batch first.
        use_gpu: predict on a GPU.
    """

    def __init__(self, pipeline: Any = None, preprocessor: Any = None, use_gpu: bool = False) -> None:
        super().__init__(pipeline, preprocessor)
        self.use_gpu = use_gpu

    @property
    def pipeline(self) -> Any:
        """What predicts."""
        return self.model

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: Checkpoint,
        *,
        pipeline_cls: Any = None,
        use_gpu: bool = False,
        **pipeline_kwargs: Any,
    ) -> TransformersPredictor:
        """A predictor with a pipeline of the checkpoint's model.

        Args:
            checkpoint: with a pretrained model's files.
            pipeline_cls: the pipeline's class; `transformers.pipeline` if None.
            use_gpu: predict on a GPU.
            pipeline_kwargs: of the pipeline, for instance its task.
        """
        import transformers

        from narke.train.huggingface.transformers.transformers_checkpoint import files_in

        make = pipeline_cls or transformers.pipeline
        with checkpoint.as_directory() as folder:
            pipeline = make(model=files_in(folder), **{"device": 0 if use_gpu else -1, **pipeline_kwargs})
        return cls(pipeline, checkpoint.get_preprocessor(), use_gpu)

    def _predict_pandas(
        self, data: pd.DataFrame, feature_columns: list | None = None, **predict_kwargs: Any
    ) -> pd.DataFrame:
        import pandas as pd

        # The pipeline gets a list of the only column's values, else of rows.
        frame = data[feature_columns] if feature_columns else data
        rows = frame.iloc[:, 0].tolist() if frame.shape[1] == 1 else frame.to_numpy().tolist()
        found = self.pipeline(rows, **predict_kwargs)
        flat = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in found]
        return pd.DataFrame(flat)
