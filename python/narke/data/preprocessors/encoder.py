"""Encoders: categories to numbers, in the sorted order of the values that were seen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.data import aggregate as agg
from narke.data.preprocessor import Preprocessor
from narke.data.preprocessors.columnwise import Columnwise

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


def learned_values(ds: Dataset, columns: list[str], encode_lists: bool = True) -> dict[str, dict[Any, int]]:
    """For each column, ``unique_values(column)``: from value to its place in sorted order.

    Raises:
        ValueError: a column has nulls, which have no place.
    """
    found = ds.aggregate(*(agg.Unique(c, alias_name=c, encode_lists=encode_lists) for c in columns))
    for name, values in found.items():
        if any(value is None for value in values or []):
            raise ValueError(f"column {name!r} has nulls: fill them first, for example with SimpleImputer")
    return {f"unique_values({name})": _places(values or []) for name, values in found.items()}


def _places(values: list[Any]) -> dict[Any, int]:
    keys = (tuple(value) if isinstance(value, list) else value for value in values)
    return {key: place for place, key in enumerate(sorted(keys))}


class OrdinalEncoder(Columnwise):
    """Each category to a number; those that were not seen to NaN.

    Args:
        columns, output_columns: see `Columnwise`. encode_lists: lists are encoded value by value, else as a whole.
    """

    encode_lists: bool

    def __init__(
        self, columns: list[str], *, encode_lists: bool = True, output_columns: list[str] | None = None
    ):
        super().__init__(columns, output_columns)
        self.encode_lists = encode_lists

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return learned_values(ds, self.columns, self.encode_lists)

    def _column(self, name: str, values: Any) -> Any:
        places = self.stats_[f"unique_values({name})"]
        if len(values) and isinstance(values.iloc[0], (list, np.ndarray)):
            if not self.encode_lists:
                return values.map(lambda items: places.get(tuple(items)))
            return values.map(lambda items: [places.get(item) for item in items])
        return values.map(places)


class LabelEncoder(Preprocessor):
    """The categories of a label column to numbers.

    Args:
        label_column: the column. output_column: where the numbers go; by default in its place.
        columns: the column as a list of one, as other preprocessors take theirs.
    """

    label_column: str
    output_column: str

    def __init__(
        self,
        label_column: str | None = None,
        *,
        output_column: str | None = None,
        columns: list[str] | None = None,
    ):
        if (label_column is None) == (columns is None) or (columns is not None and len(columns) != 1):
            raise ValueError("LabelEncoder: give either label_column or columns with one name")
        self.label_column: str = columns[0] if columns else label_column  # type: ignore[assignment]
        self.output_column = output_column or self.label_column

    def get_input_columns(self) -> list[str]:
        """The label column."""
        return [self.label_column]

    def get_output_columns(self) -> list[str]:
        """Where the numbers go."""
        return [self.output_column]

    def _places(self) -> dict[Any, int]:
        return self.stats_[f"unique_values({self.label_column})"]

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        return learned_values(ds, [self.label_column])

    def _transform_pandas(self, frame: Any) -> Any:
        return frame.assign(**{self.output_column: frame[self.label_column].map(self._places())})

    def inverse_transform(self, ds: Dataset) -> Dataset:
        """A dataset with the categories in place of their numbers."""
        self._check_fitted()
        back = {place: value for value, place in self._places().items()}

        def decode(frame: Any) -> Any:
            return frame.assign(**{self.label_column: frame[self.output_column].map(back)})

        return ds.map_batches(decode, batch_format="pandas")

    def __repr__(self) -> str:
        return f"LabelEncoder(label_column={self.label_column!r}, output_column={self.output_column!r})"


class OneHotEncoder(Columnwise):
    """Each category to a vector with a single 1; those that were not seen to zeros.

    Args:
        columns, output_columns: see `Columnwise`. max_categories: by column, how many of the most frequent
            categories get a place.
    """

    max_categories: dict[str, int]

    def __init__(
        self,
        columns: list[str],
        *,
        max_categories: dict[str, int] | None = None,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        self.max_categories = dict(max_categories or {})

    def safe_get(self, v: Any, stats: dict[Any, int]) -> int:
        """The number of a category in what was learned; -1 when it is not known."""
        try:
            return stats.get(tuple(v) if isinstance(v, (list, np.ndarray)) else v, -1)
        except TypeError:  # not hashable
            return -1

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        learned = learned_values(ds, self.columns)
        for name, most in self.max_categories.items():
            counts = ds.groupby(name).count().take_all()
            frequent = sorted(counts, key=lambda row: -row["count()"])[:most]
            kept = sorted(row[name] for row in frequent)
            learned[f"unique_values({name})"] = {value: place for place, value in enumerate(kept)}
        return learned

    def _column(self, name: str, values: Any) -> Any:
        places = self.stats_[f"unique_values({name})"]
        made = np.zeros((len(values), len(places)), dtype=np.uint8)
        at = values.map(places).to_numpy(dtype=float, na_value=np.nan)
        known = ~np.isnan(at)
        made[np.flatnonzero(known), at[known].astype(int)] = 1
        return list(made)


class MultiHotEncoder(OneHotEncoder):
    """Each list of categories to a vector that counts them; those that were not seen are left out.

    Args:
        columns, output_columns: see `Columnwise`. max_categories: see `OneHotEncoder`.
    """

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        counters = [
            agg.ApproximateTopK(c, sys.maxsize, alias_name=c, encode_lists=True) for c in self.columns
        ]
        found = ds.aggregate(*counters)
        learned = {}
        for name in self.columns:
            kept = sorted(
                row[name] for row in found[name][: self.max_categories.get(name)] if row[name] is not None
            )
            learned[f"unique_values({name})"] = {value: place for place, value in enumerate(kept)}
        return learned

    def _column(self, name: str, values: Any) -> Any:
        places = self.stats_[f"unique_values({name})"]
        made = np.zeros((len(values), len(places)), dtype=np.uint8)
        for row, items in enumerate(values):
            for item in items if isinstance(items, (list, np.ndarray)) else [items]:
                if item in places:
                    made[row, places[item]] += 1
        return list(made)


class Categorizer(Columnwise):
    """Columns to pandas categories, learned or given.

    Args:
        columns, output_columns: see `Columnwise`. dtypes: by column, the CategoricalDtype; others are learned.
    """

    dtypes: dict[str, Any]

    def __init__(
        self,
        columns: list[str],
        dtypes: dict[str, Any] | None = None,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        self.dtypes = dict(dtypes or {})

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        import pandas as pd

        missing = [c for c in self.columns if c not in self.dtypes]
        found = ds.aggregate(*(agg.Unique(c, True, c) for c in missing)) if missing else {}
        return {**self.dtypes, **{name: pd.CategoricalDtype(sorted(found[name] or [])) for name in missing}}

    def _column(self, name: str, values: Any) -> Any:
        return values.astype(self.stats_[name])
