"""What predictors on tables share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from narke.air.constants import TENSOR_COLUMN_NAME

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["as_frame", "features_of"]


def features_of(data: pd.DataFrame, columns: list | None) -> Any:
    """The features in a data frame.

    Args:
        data: whose only column may hold rows of an array.
        columns: to use; all if None.
    """
    if list(data.columns) == [TENSOR_COLUMN_NAME]:
        values = np.stack([np.asarray(each) for each in data[TENSOR_COLUMN_NAME]])
        return values[:, columns] if columns else values
    return data[columns] if columns else data


def as_frame(predictions: Any) -> pd.DataFrame:
    """Predictions as a data frame: one column, or a numbered one for each class."""
    import pandas as pd

    if np.ndim(predictions) == 1:
        return pd.DataFrame({"predictions": predictions})
    frame = pd.DataFrame(np.asarray(predictions))
    frame.columns = [f"predictions_{at}" for at in range(frame.shape[1])]
    return frame
