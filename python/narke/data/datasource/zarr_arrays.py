"""Zarr stores of version 2 (https://zarr-specs.readthedocs.io/en/latest/v2/v2.0.html); numcodecs decodes chunks."""

from __future__ import annotations

import functools
import itertools
import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import fs

from narke.data import blocks as blk
from narke.data.block import BlockMetadata
from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.media import needed


class ZarrArray:
    """One array of a store.

    Args:
        system, root: of the store. name: path of the array in it. meta: its ".zarray".
    """

    def __init__(self, system: fs.FileSystem, root: str, name: str, meta: dict[str, Any]):
        self.system, self.folder, self.name = system, f"{root}/{name}".rstrip("/"), name
        if meta.get("zarr_format") != 2:
            raise ValueError(
                f"{self.folder} has zarr_format {meta.get('zarr_format')}; only version 2 is read"
            )
        self.shape, self.chunks = tuple(meta["shape"]), tuple(meta["chunks"])
        self.dtype = np.dtype(meta["dtype"])
        if self.dtype.hasobject:
            raise ValueError(f"{self.folder} holds objects, which are not read: decoding them may run code")
        self._order, self._fill = meta.get("order", "C"), meta.get("fill_value")
        self._separator = meta.get("dimension_separator", ".")
        self._codecs = [meta.get("compressor"), *reversed(meta.get("filters") or [])]

    def tiles(self, sizes: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], tuple[tuple[int, int], ...]]]:
        """(index, ((start, stop), ...)) of each tile of a size."""
        counts = [math.ceil(n / size) if n else 0 for n, size in zip(self.shape, sizes, strict=True)]
        for index in itertools.product(*map(range, counts)):
            spans = zip(index, sizes, self.shape, strict=True)
            yield index, tuple((i * size, min((i + 1) * size, n)) for i, size, n in spans)

    def region(self, spans: Sequence[tuple[int, int]]) -> np.ndarray:
        """The elements between starts and stops of each axis."""
        out = np.full([stop - start for start, stop in spans], self._fill_value(), self.dtype)
        ranges = [range(a // c, math.ceil(b / c)) for (a, b), c in zip(spans, self.chunks, strict=True)]
        for index in itertools.product(*ranges):
            chunk = self._chunk(index)
            if chunk is None:
                continue
            target, source = [], []
            for i, size, (start, stop) in zip(index, self.chunks, spans, strict=True):
                low, high = max(start, i * size), min(stop, (i + 1) * size)
                target.append(slice(low - start, high - start))
                source.append(slice(low - i * size, high - i * size))
            out[tuple(target)] = chunk[tuple(source)]
        return out

    def _fill_value(self) -> Any:
        if self._fill is None:
            return np.zeros((), self.dtype)
        return float(self._fill) if isinstance(self._fill, str) and self.dtype.kind == "f" else self._fill

    def _chunk(self, index: tuple[int, ...]) -> np.ndarray | None:
        """A chunk as it is stored, or None where all of it is the fill value."""
        path = f"{self.folder}/{self._separator.join(map(str, index)) or '0'}"
        try:
            with self.system.open_input_stream(path) as stream:
                data: Any = stream.read()
        except FileNotFoundError:
            return None
        for codec in self._codecs:
            if codec is not None:
                data = _codec(json.dumps(codec)).decode(data)
        flat = np.frombuffer(data, self.dtype)
        if flat.size != math.prod(self.chunks):
            raise ValueError(f"{path} has {flat.size} elements; a chunk has {math.prod(self.chunks)}")
        return flat.reshape(self.chunks, order=self._order)


@functools.lru_cache(maxsize=64)
def _codec(config: str) -> Any:
    numcodecs = needed("numcodecs", "numcodecs", "reading compressed Zarr arrays")
    about = json.loads(config)
    if about["id"] == "pickle":
        raise ValueError("a Zarr array of pickles is not read: unpickling runs code")
    return numcodecs.get_codec(about)


def find_arrays(system: fs.FileSystem, root: str, names: list[str] | None, scan: bool) -> list[ZarrArray]:
    """The arrays of a store: those named, else all that its ".zmetadata" names, else (`scan`) all that are there.

    Raises:
        ValueError: it has no ".zmetadata" and is not to be scanned, or lacks a named array.
    """
    whole = _json(system, f"{root}/.zmetadata")
    if whole is not None:
        entries = {
            k.removesuffix("/.zarray").removesuffix(".zarray"): v
            for k, v in whole["metadata"].items()
            if k.endswith(".zarray")
        }
    elif names is not None:
        entries = {name: _json(system, f"{root}/{name}/.zarray") for name in names}
    elif scan:
        selector = fs.FileSelector(root, recursive=True)
        found = [i.path for i in system.get_file_info(selector) if i.path.endswith("/.zarray")]
        entries = {
            p.removesuffix("/.zarray").removeprefix(root).strip("/"): _json(system, p) for p in sorted(found)
        }
    else:
        raise ValueError(
            f"{root} has no .zmetadata: name the arrays by array_paths, or set allow_full_metadata_scan"
        )
    missing = [name for name in names or [] if entries.get(name) is None]
    if missing:
        raise ValueError(f"{root} has no arrays {missing}; it has {sorted(entries)}")
    return [ZarrArray(system, root, name, entries[name]) for name in names or sorted(entries)]


def _json(system: fs.FileSystem, path: str) -> Any:
    try:
        with system.open_input_stream(path) as stream:
            return json.loads(stream.read())
    except FileNotFoundError:
        return None


def tile_sizes(array: ZarrArray, wanted: Any) -> tuple[int, ...]:
    """Sizes of an array's tiles: its chunks, but for leading axes that are given.

    Raises:
        ValueError: more axes are given than there are, or sizes below 1.
    """
    given = wanted.get(array.name, ()) if isinstance(wanted, dict) else wanted or ()
    if len(given) > len(array.chunks) or any(size < 1 for size in given):
        raise ValueError(f"chunk_shapes {list(given)} do not fit array {array.name!r} of shape {array.shape}")
    return (*given, *array.chunks[len(given) :])


class ZarrSource(Datasource):
    """Tiles of arrays, a row each; aligned: the rows of several arrays side by side.

    Args:
        arrays: those to read. chunk_shapes: see `tile_sizes`. aligned: a column an array, cut along the first axis.
        overlap: elements that follow along the first axis, which each aligned row has, too.
    """

    def __init__(self, arrays: list[ZarrArray], chunk_shapes: Any, aligned: bool, overlap: int):
        self._arrays, self._overlap = arrays, overlap
        self._sizes = [tile_sizes(array, chunk_shapes) for array in arrays]
        self._aligned = aligned
        if overlap and not aligned or overlap < 0:
            raise ValueError(f"overlap must be 0 or more, and needs align_axis_0; not {overlap}")
        if aligned:
            self._check_aligned()

    def get_name(self) -> str:
        return "Zarr"

    def _check_aligned(self) -> None:
        lengths = {array.name: array.shape[:1] for array in self._arrays}
        cuts = {a.name: sizes[:1] for a, sizes in zip(self._arrays, self._sizes, strict=True)}
        for what, found in (("lengths", lengths), ("chunk sizes", cuts)):
            if len(set(found.values())) != 1:
                raise ValueError(f"align_axis_0 needs arrays of equal first {what}; these have {found}")

    def estimate_inmemory_data_size(self) -> int:
        return sum(math.prod(array.shape) * array.dtype.itemsize for array in self._arrays)

    def _rows(self) -> list[Callable[[], dict[str, Any]]]:
        if self._aligned:
            length, step = self._arrays[0].shape[0], self._sizes[0][0]
            return [
                functools.partial(self._aligned_row, i, min(i + step, length)) for i in range(0, length, step)
            ]
        return [
            functools.partial(_tile_row, array, index, spans)
            for array, sizes in zip(self._arrays, self._sizes, strict=True)
            for index, spans in array.tiles(sizes)
        ]

    def _aligned_row(self, start: int, stop: int) -> dict[str, Any]:
        row: dict[str, Any] = {"t_start": start, "t_stop": stop}
        for array in self._arrays:
            end = min(stop + self._overlap, array.shape[0])
            row[array.name] = array.region([(start, end), *((0, n) for n in array.shape[1:])])
        return row

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        rows = self._rows()
        count = max(1, min(parallelism, len(rows)))
        edges = [len(rows) * i // count for i in range(count + 1)]
        return [
            ReadTask(functools.partial(_read_rows, rows[a:b]), BlockMetadata(b - a, None, None))
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]


def _tile_row(array: ZarrArray, index: tuple[int, ...], spans: tuple[tuple[int, int], ...]) -> dict[str, Any]:
    return {
        "array": array.name,
        "chunk_index": list(index),
        "chunk_slices": [list(span) for span in spans],
        "chunk": array.region(spans),
    }


def _read_rows(rows: list[Callable[[], dict[str, Any]]]) -> Iterator[pa.Table]:
    if not rows:
        yield pa.table({})
    for make in rows:
        yield blk.from_rows([make()])
