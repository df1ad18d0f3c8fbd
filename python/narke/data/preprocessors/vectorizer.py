"""Text to numbers: tokens, counts of tokens, counts of hashes of tokens."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from narke.data.preprocessor import Preprocessor
from narke.data.preprocessors.columnwise import Columnwise, shown

if TYPE_CHECKING:
    from narke.data.dataset import Dataset

Tokenize = Callable[[str], list[str]]


def simple_split_tokenizer(text: str) -> list[str]:
    """The parts of a text between single spaces."""
    return text.split(" ")


def stable_hash(token: str, buckets: int) -> int:
    """A number below `buckets` for a token, the same in every process."""
    return zlib.crc32(str(token).encode()) % buckets


class Tokenizer(Columnwise):
    """Texts to lists of tokens.

    Args:
        columns, output_columns: see `Columnwise`. tokenization_fn: from text to tokens; by default between spaces.
    """

    tokenization_fn: Callable[[str], list[str]]

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        tokenization_fn: Tokenize | None = None,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        self.tokenization_fn = tokenization_fn or simple_split_tokenizer

    def _column(self, name: str, values: Any) -> Any:
        return values.map(self.tokenization_fn)


class HashingVectorizer(Columnwise):
    """Texts to vectors of counts, in which a hash says where a token is counted.

    Args:
        columns, output_columns: see `Columnwise`. num_features: length of the vectors.
        tokenization_fn: see `Tokenizer`.
    """

    tokenization_fn: Callable[[str], list[str]]
    num_features: int

    _is_fittable = False

    def __init__(
        self,
        columns: list[str],
        num_features: int,
        tokenization_fn: Tokenize | None = None,
        *,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        self.num_features = num_features
        self.tokenization_fn = tokenization_fn or simple_split_tokenizer

    def _column(self, name: str, values: Any) -> Any:
        return [self._vector(text) for text in values]

    def _vector(self, text: str) -> np.ndarray:
        places = [stable_hash(token, self.num_features) for token in self.tokenization_fn(text)]
        return np.bincount(np.asarray(places, dtype=int), minlength=self.num_features)


class CountVectorizer(Columnwise):
    """Texts to vectors of counts of the tokens that were seen, the most frequent first.

    Args:
        columns, output_columns: see `Columnwise`. tokenization_fn: see `Tokenizer`.
        max_features: how many of the most frequent tokens are counted.
    """

    tokenization_fn: Callable[[str], list[str]]
    max_features: int | None

    def __init__(
        self,
        columns: list[str],
        tokenization_fn: Tokenize | None = None,
        max_features: int | None = None,
        *,
        output_columns: list[str] | None = None,
    ):
        super().__init__(columns, output_columns)
        self.max_features = max_features
        self.tokenization_fn = tokenization_fn or simple_split_tokenizer

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        names, tokenize = self.columns, self.tokenization_fn

        def count(batch: dict[str, np.ndarray]) -> dict[str, Any]:
            found = {n: Counter(t for text in batch[n] for t in tokenize(text)) for n in names}
            return {"column": list(names), "counts": [dict(found[n]) for n in names]}

        whole: dict[str, Counter[str]] = {name: Counter() for name in names}
        for row in ds.map_batches(lambda batch: _pickled(count(batch))).iter_rows():
            whole[row["column"]].update(row["counts"])
        return {f"token_counts({n})": Counter(dict(whole[n].most_common(self.max_features))) for n in names}

    def _column(self, name: str, values: Any) -> Any:
        places = {token: i for i, token in enumerate(self.stats_[f"token_counts({name})"])}
        made = np.zeros((len(values), len(places)), dtype=np.int64)
        for row, text in enumerate(values):
            for token in self.tokenization_fn(text):
                if token in places:
                    made[row, places[token]] += 1
        return list(made)


def _pickled(batch: dict[str, Any]) -> dict[str, Any]:
    """Dicts of any keys, which Arrow would turn into structs of all of them."""
    from narke.data import columns

    return {"column": batch["column"], "counts": columns.objects_to_arrow(batch["counts"])}


class FeatureHasher(Preprocessor):
    """Columns of counts to one column of vectors, in which a hash of the column's name says where it is added.

    Args:
        columns: names. num_features: length of the vectors. output_column: where they go.
    """

    columns: list[str]
    num_features: int
    output_column: str

    _is_fittable = False

    def __init__(self, columns: list[str], num_features: int, output_column: str):
        self.columns, self.num_features, self.output_column = list(columns), num_features, output_column

    def get_input_columns(self) -> list[str]:
        """The columns that it reads."""
        return self.columns

    def get_output_columns(self) -> list[str]:
        """The column that it writes."""
        return [self.output_column]

    def _transform_pandas(self, frame: Any) -> Any:
        whole = all(frame[name].dtype.kind in "iub" for name in self.columns)
        made = np.zeros((len(frame), self.num_features), int if whole else float)
        for name in self.columns:
            made[:, stable_hash(name, self.num_features)] += frame[name].to_numpy(made.dtype)
        return frame.assign(**{self.output_column: list(made)})

    def __repr__(self) -> str:
        return shown(self, ["columns", "num_features", "output_column"])
