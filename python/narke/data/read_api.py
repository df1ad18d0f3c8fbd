"""Functions that make datasets: from files, from memory, from numbers."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

import narke
from narke.data import blocks as blk
from narke.data import columns
from narke.data._arguments import remote_arguments, unsupported
from narke.data.blocks import ITEM, Block
from narke.data.compute import TaskPoolStrategy
from narke.data.context import DataContext
from narke.data.dataset import Dataset, MaterializedDataset
from narke.data.datasource import files, paths
from narke.data.datasource.datasource import Datasource, RangeSource
from narke.data.datasource.parquet import ParquetSource
from narke.data.plan import Blocks, Bundle, Read

IMAGE_EXTENSIONS = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif"]
JSON_EXTENSIONS = ["json", "jsonl", "json.gz", "jsonl.gz", "json.br", "jsonl.br", "json.zst", "jsonl.zst",
                   "json.lz4", "jsonl.lz4"]  # fmt: skip


def _stored(tables: Iterable[Block]) -> MaterializedDataset:
    bundles = []
    for table in tables:
        small = blk.compact(table)
        bundles.append(Bundle(narke.put(small), small.num_rows, small.nbytes, small.schema))
    return _of_bundles(bundles)


def _of_bundles(bundles: list[Bundle]) -> MaterializedDataset:
    return MaterializedDataset(Blocks((), tuple(bundles)), DataContext.get_current().copy())


def _cut(table: Block, count: int) -> list[Block]:
    edges = [table.num_rows * i // count for i in builtins.range(count + 1)]
    return [table.slice(a, b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _described(refs: list[Any], convert: Any) -> MaterializedDataset:
    """Blocks of objects that are in the store already, converted there by tasks."""
    run = narke.remote(convert).options(num_returns=2)
    pairs = [run.remote(ref) for ref in refs]
    known = narke.get([about for _, about in pairs])
    return _of_bundles([Bundle(ref, *about) for (ref, about), about in zip(pairs, known, strict=True)])


def _converted(value: Any) -> tuple[Block, tuple[int, int, Any]]:
    block = columns_of(value) if isinstance(value, np.ndarray) else blk.from_batch(value)
    return block, (block.num_rows, block.nbytes, block.schema)


def columns_of(array: np.ndarray) -> Block:
    """An array as a block with the one column "data"."""
    return pa.table({"data": columns.to_arrow(array)})


def _as_refs(refs: Any) -> list[Any]:
    return list(refs) if isinstance(refs, (list, tuple)) else [refs]


def from_items(items: list[Any], *, parallelism: int = -1, override_num_blocks: int | None = None) -> Any:
    """A dataset of Python values: dicts are rows, other values stand in column "item".

    Args:
        items: the values. parallelism, override_num_blocks: number of blocks; by default few large ones.
    """
    rows = [item if isinstance(item, Mapping) else {ITEM: item} for item in items]
    wanted = override_num_blocks or (parallelism if parallelism > 0 else _spread(len(rows)))
    if not rows:
        return _stored([pa.table({})])
    return _stored(_cut(blk.from_rows(rows), max(1, min(wanted, len(rows)))))


def _spread(rows: int) -> int:
    """Blocks for values in memory: enough for a few CPUs when there are many."""
    return 1 if rows < 1000 else 8


def from_pandas(dfs: Any, override_num_blocks: int | None = None) -> Any:
    """A dataset of one DataFrame or a list of them; indices are left out."""
    frames = dfs if isinstance(dfs, (list, tuple)) else [dfs]
    return _blocks_of([blk.from_pandas(frame) for frame in frames], override_num_blocks)


def from_arrow(tables: Any, *, override_num_blocks: int | None = None) -> Any:
    """A dataset of one Arrow table, a list of them, or of their IPC bytes."""
    given = tables if isinstance(tables, (list, tuple)) else [tables]
    found = [pa.ipc.open_stream(t).read_all() if isinstance(t, bytes) else blk.from_batch(t) for t in given]
    return _blocks_of(found, override_num_blocks)


def from_blocks(blocks: list[Any]) -> Any:
    """A dataset of blocks (Arrow tables or DataFrames), each kept as one block."""
    return _stored([blk.from_batch(b) for b in blocks])


def _blocks_of(tables: list[Block], count: int | None) -> Any:
    return _stored(tables if count is None else _cut(blk.concat(tables), count))


def from_numpy(ndarrays: Any) -> Any:
    """A dataset of one array or a list of them, rows first, in column "data"."""
    arrays = ndarrays if isinstance(ndarrays, (list, tuple)) else [ndarrays]
    return _stored([columns_of(np.asarray(array)) for array in arrays])


def from_pandas_refs(dfs: Any) -> Any:
    """A dataset of DataFrames in the object store."""
    return _described(_as_refs(dfs), _converted)


def from_arrow_refs(tables: Any) -> Any:
    """A dataset of Arrow tables in the object store."""
    return _described(_as_refs(tables), _converted)


def from_numpy_refs(ndarrays: Any) -> Any:
    """A dataset of arrays in the object store, in column "data"."""
    return _described(_as_refs(ndarrays), _converted)


def range(
    n: int, *, parallelism: int = -1, concurrency: int | None = None, override_num_blocks: int | None = None
) -> Dataset:
    """A dataset of the numbers from 0 to n - 1 in column "id".

    Args:
        n: how many. concurrency: most read tasks at once. parallelism, override_num_blocks: number of blocks.
    """
    return _read(RangeSource(n), parallelism, concurrency, override_num_blocks, {})


def range_tensor(
    n: int,
    *,
    shape: tuple[int, ...] = (1,),
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
) -> Dataset:
    """A dataset of n tensors of `shape` in column "data"; the i-th is filled with i."""
    return _read(RangeSource(n, tuple(shape)), parallelism, concurrency, override_num_blocks, {})


def read_datasource(
    datasource: Datasource,
    *,
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
    ray_remote_args: dict[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of a source of the user's own.

    Args:
        datasource: the source. concurrency: most read tasks at once. parallelism, override_num_blocks: number of
            read tasks. ray_remote_args and `options`: resources of the read tasks.
    """
    remote_args = remote_arguments({**(ray_remote_args or {}), **options})
    return _read(datasource, parallelism, concurrency, override_num_blocks, remote_args)


def _read(
    source: Datasource, parallelism: int, concurrency: int | None, blocks: int | None, remote_args: Any
) -> Dataset:
    if blocks is not None and blocks < 1:
        raise ValueError(f"override_num_blocks must be 1 or more, not {blocks}")
    node = Read(
        source=source,
        parallelism=blocks or parallelism,
        remote_args=remote_args,
        compute=TaskPoolStrategy(concurrency),
    )
    return Dataset(node, DataContext.get_current().copy())


class _FileOptions:
    """The arguments that all readers of files share; what is left over are the format's own."""

    def __init__(self, options: dict[str, Any], extensions: list[str] | None, partitioned: bool):
        take = options.pop
        self.filesystem = take("filesystem", None)
        self.parallelism, self.blocks = take("parallelism", -1), take("override_num_blocks", None)
        self.concurrency = take("concurrency", None)
        self.stream_args = take("arrow_open_stream_args", None) or take("arrow_open_file_args", None)
        self.include_paths = take("include_paths", False)
        self.ignore_missing = take("ignore_missing_paths", False)
        self.extensions = take("file_extensions", extensions)
        self.partitioned = partitioned if "partitioning" not in options else bool(take("partitioning"))
        self.shuffle = take("shuffle", None)
        unsupported(
            options, ("partition_filter", "tensor_column_schema", "catalog", "skip_paths", "include_row_hash")
        )
        given = take("ray_remote_args", None) or {}
        self.remote_args = remote_arguments({**given, **_remote_options(options)})

    def files(self, given: Any) -> tuple[Any, list[paths.File]]:
        """The files of the paths, in random order when asked."""
        system, found = paths.expand(
            paths.as_list(given), self.filesystem, self.extensions, self.ignore_missing, self.partitioned
        )
        if self.shuffle is not None:
            if self.shuffle != "files":
                raise ValueError(f"shuffle must be 'files' or None, not {self.shuffle!r}")
            found = [found[i] for i in np.random.default_rng().permutation(len(found))]
        return system, found

    def dataset(self, source: Datasource) -> Dataset:
        """The dataset of a source."""
        return _read(source, self.parallelism, self.concurrency, self.blocks, self.remote_args)


REMOTE_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "runtime_env", "label_selector",
                  "fallback_strategy", "max_calls")  # fmt: skip


def _remote_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.pop(name) for name in REMOTE_OPTIONS if name in options}


def _read_files(given: Any, reader: files.Reader, chosen: _FileOptions) -> Dataset:
    system, found = chosen.files(given)
    return chosen.dataset(files.FileSource(reader, system, found, chosen.include_paths, chosen.stream_args))


def _no_more(options: dict[str, Any], function: str) -> None:
    if options:
        raise TypeError(f"{function}() got unexpected arguments {sorted(options)}")


_SHARED = """

    Args:
        paths: file, folder, URI, or list of them; folders are read with all that is in them.
        filesystem: pyarrow or fsspec filesystem; by default the one that the path names.
        include_paths: add column "path". ignore_missing_paths: leave out what does not exist.
        file_extensions: endings of the files to read. shuffle: "files" reads them in random order.
        partitioning: None takes folder names like ``year=2020`` for nothing but names.
        concurrency: most read tasks at once. override_num_blocks: number of read tasks.
        num_cpus and the like, ray_remote_args: resources of read tasks.

    Raises:
        FileNotFoundError: a path does not exist. ValueError: there are no files to read.
    """


def read_parquet(paths: Any, *, columns: list[str] | None = None, **options: Any) -> Dataset:
    """A dataset of Parquet files. `columns` are those to read; further arguments go to Arrow (such as `filter`)."""
    chosen = _FileOptions(options, ["parquet"], True)
    system, found = chosen.files(paths)
    return chosen.dataset(ParquetSource(system, found, columns, chosen.include_paths, options))


def read_csv(paths: Any, **options: Any) -> Dataset:
    """A dataset of CSV files; further arguments go to `pyarrow.csv.read_csv`."""
    chosen = _FileOptions(options, None, True)
    return _read_files(paths, files.CsvReader(options), chosen)


def read_json(paths: Any, *, lines: bool = False, **options: Any) -> Dataset:
    """A dataset of JSON lines, or of JSON arrays of objects; `lines` is found out by itself."""
    chosen = _FileOptions(options, JSON_EXTENSIONS, True)
    return _read_files(paths, files.JsonReader(options), chosen)


def read_text(
    paths: Any, *, encoding: str = "utf-8", drop_empty_lines: bool = True, **options: Any
) -> Dataset:
    """A dataset of lines in column "text"."""
    chosen = _FileOptions(options, None, False)
    _no_more(options, "read_text")
    return _read_files(paths, files.TextReader(encoding, drop_empty_lines), chosen)


def read_binary_files(paths: Any, **options: Any) -> Dataset:
    """A dataset of whole files in column "bytes"."""
    chosen = _FileOptions(options, None, False)
    _no_more(options, "read_binary_files")
    return _read_files(paths, files.BinaryReader(), chosen)


def read_numpy(paths: Any, *, allow_pickle: bool = False, **options: Any) -> Dataset:
    """A dataset of arrays saved by numpy, rows first, in column "data"."""
    chosen = _FileOptions(options, ["npy"], False)
    return _read_files(paths, files.NumpyReader({"allow_pickle": allow_pickle, **options}), chosen)


def read_images(
    paths: Any, *, size: tuple[int, int] | None = None, mode: str | None = None, **options: Any
) -> Dataset:
    """A dataset of images in column "image"; `size` is (height, width), `mode` Pillow's mode."""
    chosen = _FileOptions(options, IMAGE_EXTENSIONS, False)
    _no_more(options, "read_images")
    return _read_files(paths, files.ImageReader(size, mode), chosen)


for _reader in (read_parquet, read_csv, read_json, read_text, read_binary_files, read_numpy, read_images):
    _reader.__doc__ = (_reader.__doc__ or "") + _SHARED
