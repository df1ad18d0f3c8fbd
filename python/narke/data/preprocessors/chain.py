"""Preprocessors one after another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.data.preprocessor import Preprocessor

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


class Chain(Preprocessor):
    """Each preprocessor learns from what those before it make.

    Args:
        preprocessors: in order.
    """

    preprocessors: tuple[Preprocessor, ...]

    def __init__(self, *preprocessors: Preprocessor):
        self.preprocessors = preprocessors

    def fit_status(self) -> Preprocessor.FitStatus:
        """Fitted when all that can be are; partially when some are."""
        states = {p.fit_status() for p in self.preprocessors} - {Preprocessor.FitStatus.NOT_FITTABLE}
        if len(states) > 1:
            return Preprocessor.FitStatus.PARTIALLY_FITTED
        return states.pop() if states else Preprocessor.FitStatus.NOT_FITTABLE

    def fit(self, ds: Dataset) -> Preprocessor:
        """Learn, one after another. Returns itself."""
        for preprocessor in self.preprocessors:
            ds = preprocessor.fit_transform(ds)
        return self

    def transform(self, ds: Dataset, **options: Any) -> Dataset:  # type: ignore[override]
        """The dataset as changed by all of them; see `Preprocessor.transform`."""
        for preprocessor in self.preprocessors:
            ds = preprocessor.transform(ds, **options)
        return ds

    def transform_batch(self, data: Any) -> Any:
        """The batch as changed by all of them."""
        for preprocessor in self.preprocessors:
            data = preprocessor.transform_batch(data)
        return data

    def __repr__(self) -> str:
        return f"Chain({', '.join(map(repr, self.preprocessors))})"
