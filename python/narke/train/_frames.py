"""Datasets as data frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["frame_of"]


def frame_of(data: Any) -> pd.DataFrame:
    """All rows of a dataset, or of a worker's part of one.

    Args:
        data: a Dataset or DataIterator.
    """
    import pandas as pd

    batches = [each for each in data.iter_batches(batch_size=None, batch_format="pandas") if len(each)]
    return pd.concat(batches, ignore_index=True) if batches else pd.DataFrame()
