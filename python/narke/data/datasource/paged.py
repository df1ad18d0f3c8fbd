"""Columns of Parquet files that consist of numbers, read page by page: only the rows that are wanted, and tests of
single columns by looking at each different value once. See `src/data/parquet_pages.h`.

Whatever has no such form here (nulls, nested columns, texts, other encodings, damage) is left to Arrow.
"""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from narke import _native

DATA, DICTIONARY = 0, 2  # kinds of pages
PLAIN, CODED = 0, (2, 8)  # encodings: values, numbers into the dictionary
CODECS = {"SNAPPY": "snappy", "GZIP": "gzip", "ZSTD": "zstd", "BROTLI": "brotli"}
KINDS = {
    "INT32": (pa.int32(), pa.uint32(), pa.date32()),
    "INT64": (pa.int64(), pa.uint64()),
    "FLOAT": (pa.float32(),),
    "DOUBLE": (pa.float64(),),
}
DAMAGE = (pa.ArrowException, OSError)  # Arrow reads the column then, and says what is wrong with it
UNITS = {"ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


class Page(NamedTuple):
    """A data page: its rows, whether by numbers into the dictionary, its bytes, and how many they are decompressed."""

    rows: int
    coded: bool
    stored: pa.Buffer
    plain_bytes: int


class Pages(NamedTuple):
    """What a column consists of: pages, the bytes of its dictionary, where pages begin (and the last one ends)."""

    data: list[Page]
    dictionary: pa.Buffer
    starts: np.ndarray


class PagedColumn:
    """A column of a row group, made when it is called.

    Args:
        about: of the column in the row group. kind: its Arrow type. nullable: whether levels stand before values.
        read_at: the file's bytes by (number of them, place). otherwise: reads the column by Arrow.
    """

    def __init__(
        self,
        about: Any,
        kind: pa.DataType,
        nullable: bool,
        read_at: Callable[[int, int], pa.Buffer],
        otherwise: Callable[[], Any],
    ):
        self._about, self._kind, self._nullable = about, kind, nullable
        self._read_at, self._otherwise = read_at, otherwise
        self._opened: dict[int, pa.Buffer] = {}  # coded pages: they are small, and are read again

    def __call__(self) -> Any:
        made = self._values(None, self._about.num_values)
        return self._otherwise() if made is None else pa.chunked_array([made])

    def pick(self, rows: np.ndarray) -> pa.Array | None:
        """The values of rows by number (32 bits); None when they do not ascend, or Arrow has to read the column."""
        return self._values(np.ascontiguousarray(rows, np.uint32), len(rows))

    def test(self, holds: Callable[[pa.Array], Any]) -> pa.Array | None:
        """For each row whether a test of its value holds; None when that would be no quicker than reading it.

        Args:
            holds: from values to truth values.
        """
        with contextlib.suppress(*DAMAGE):
            return self._test(holds)
        return None

    def _test(self, holds: Callable[[pa.Array], Any]) -> pa.Array | None:
        pages = self._pages
        if pages is None or not all(page.coded for page in pages.data):
            return None
        values = pa.Array.from_buffers(self._kind, self._known(pages), [None, pages.dictionary])
        truths = holds(values)
        if not pa.types.is_boolean(truths.type):
            return None
        known = np.asarray(truths.fill_null(False)).astype(np.uint8)
        out = np.zeros(-(-self._about.num_values // 8), np.uint8)
        if not _native.parquet_test(self._given(pages, None), self._nullable, known, out):
            return None
        return pa.Array.from_buffers(pa.bool_(), self._about.num_values, [None, pa.py_buffer(out)])

    def _values(self, rows: np.ndarray | None, count: int) -> pa.Array | None:
        with contextlib.suppress(*DAMAGE):
            return self._read(rows, count)
        return None

    def _read(self, rows: np.ndarray | None, count: int) -> pa.Array | None:
        pages = self._pages
        if pages is None:
            return None
        width = self._kind.bit_width // 8
        out = pa.allocate_buffer(count * width)
        given = self._given(pages, rows)
        if not _native.parquet_values(given, self._nullable, width, pages.dictionary, rows, out):
            return None
        return pa.Array.from_buffers(self._kind, count, [None, out], 0)

    def _given(self, pages: Pages, rows: np.ndarray | None) -> list[Any]:
        """The pages as the kernels take them, those without wanted rows not decompressed."""
        if rows is None:
            return [(self._plain(i, page), page.rows, page.coded) for i, page in enumerate(pages.data)]
        places = np.searchsorted(rows, pages.starts).tolist()
        return [
            (self._plain(i, page) if places[i] < places[i + 1] else None, page.rows, page.coded)
            for i, page in enumerate(pages.data)
        ]

    def _plain(self, index: int, page: Page) -> pa.Buffer:
        if index in self._opened:
            return self._opened[index]
        made = self._decompress(page.stored, page.plain_bytes)
        if page.coded:
            self._opened[index] = made
        return made

    def _decompress(self, stored: pa.Buffer, size: int) -> pa.Buffer:
        codec = self._about.compression
        return stored if codec == "UNCOMPRESSED" else _codec(CODECS[codec]).decompress(stored, size)

    def _known(self, pages: Pages) -> int:
        return len(pages.dictionary) // (self._kind.bit_width // 8)

    @functools.cached_property
    def _pages(self) -> Pages | None:
        """The column's pages; None when there is something among them that is Arrow's to read."""
        about, start = self._about, self._about.data_page_offset
        if about.has_dictionary_page and about.dictionary_page_offset:
            start = min(start, about.dictionary_page_offset)
        chunk = self._read_at(about.total_compressed_size, start)
        try:
            headers = _native.parquet_headers(chunk)
        except ValueError:
            return None
        dictionary, pages = pa.py_buffer(b""), []
        for place, (kind, encoding, rows, begin, stored, size) in enumerate(headers):
            whole = chunk.slice(begin, stored)
            if size > about.total_uncompressed_size or not _readable(kind, encoding, rows, place):
                return None
            if kind == DICTIONARY:
                dictionary = self._decompress(whole, size)
            else:
                pages.append(Page(rows, encoding in CODED, whole, size))
        starts = np.cumsum([0, *(page.rows for page in pages)])
        complete = starts[-1] == about.num_values < 2**32
        return Pages(pages, dictionary, starts.astype(np.uint32)) if complete else None


def _readable(kind: int, encoding: int, rows: int, place: int) -> bool:
    if kind == DICTIONARY:
        return place == 0
    return kind == DATA and rows >= 0 and (encoding == PLAIN or encoding in CODED)


@functools.cache
def _codec(name: str) -> pa.Codec:
    return pa.Codec(name)


def is_paged(about: Any, column: Any, kind: pa.DataType) -> bool:
    """Whether a column of a row group may be read here.

    Args:
        about: of the column in the row group. column: of the file's schema. kind: its Arrow type.
    """
    flat = (
        column.max_repetition_level == 0 and column.max_definition_level <= 1 and column.path == column.name
    )
    known = about.statistics
    nulls = known is not None and known.has_null_count and known.null_count > 0
    readable = about.compression == "UNCOMPRESSED" or about.compression in CODECS
    return flat and not nulls and readable and _is_plain(column, kind)


def _is_plain(column: Any, kind: pa.DataType) -> bool:
    """Whether its values lie in the file as in Arrow's memory."""
    if pa.types.is_timestamp(kind) and column.physical_type == "INT64":
        return json.loads(column.logical_type.to_json()).get("timeUnit") == UNITS.get(kind.unit)
    return kind in KINDS.get(column.physical_type, ())
