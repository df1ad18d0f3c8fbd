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
from narke.data._arguments import remote_arguments
from narke.data.blocks import ITEM, Block
from narke.data.compute import TaskPoolStrategy
from narke.data.context import DataContext
from narke.data.dataset import Dataset, MaterializedDataset
from narke.data.datasource.datasource import Datasource, RangeSource, ReaderSource
from narke.data.plan import Blocks, Bundle, Read

NARROW_BYTES = 2**31 - 1


def _stored(tables: Iterable[Block], frames: bool = False) -> MaterializedDataset:
    bundles = []
    for table in tables:
        small = blk.compact(table)
        bundles.append(Bundle(narke.put(small), small.num_rows, small.nbytes, small.schema))
    return _of_bundles(bundles, frames)


def _of_bundles(bundles: list[Bundle], frames: bool = False) -> MaterializedDataset:
    return MaterializedDataset(Blocks((), tuple(bundles), frames), DataContext.get_current().copy())


def _cut(table: Block, count: int) -> list[Block]:
    edges = [table.num_rows * i // count for i in builtins.range(count + 1)]
    return [table.slice(a, b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)]


def _described(refs: list[Any], convert: Any, frames: bool = False) -> MaterializedDataset:
    """Blocks of objects that are in the store already, converted there by tasks."""
    run = narke.remote(convert).options(num_returns=2)
    pairs = [run.remote(ref) for ref in refs]
    known = narke.get([about for _, about in pairs])
    return _of_bundles(
        [Bundle(ref, *about) for (ref, about), about in zip(pairs, known, strict=True)], frames
    )


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
    return _blocks_of([_narrow_texts(blk.from_pandas(frame)) for frame in frames], override_num_blocks, True)


def _narrow_texts(table: Block) -> Block:
    """Texts of pandas with offsets of 32 bits, as everywhere else, where they fit."""
    for place, field in enumerate(table.schema):
        if pa.types.is_large_string(field.type) and table.column(place).nbytes < NARROW_BYTES:
            table = table.set_column(place, field.name, table.column(place).cast(pa.string()))
    return table


def from_arrow(tables: Any, *, override_num_blocks: int | None = None) -> Any:
    """A dataset of one Arrow table, a list of them, or of their IPC bytes."""
    given = tables if isinstance(tables, (list, tuple)) else [tables]
    found = [_from_ipc(t) if isinstance(t, bytes) else blk.from_batch(t) for t in given]
    return _blocks_of(found, override_num_blocks)


def _from_ipc(data: bytes) -> Block:
    table = pa.ipc.open_stream(data).read_all()
    columns.refuse_objects(table.schema, "from_arrow")
    return table


def from_blocks(blocks: list[Any]) -> Any:
    """A dataset of blocks (Arrow tables or DataFrames), each kept as one block."""
    return _stored([blk.from_batch(b) for b in blocks], not any(isinstance(b, pa.Table) for b in blocks))


def _blocks_of(tables: list[Block], count: int | None, frames: bool = False) -> Any:
    return _stored(tables if count is None else _cut(blk.concat(tables), count), frames)


def from_numpy(ndarrays: Any) -> Any:
    """A dataset of one array or a list of them, rows first, in column "data"."""
    arrays = ndarrays if isinstance(ndarrays, (list, tuple)) else [ndarrays]
    return _stored([columns_of(np.asarray(array)) for array in arrays])


def from_pandas_refs(dfs: Any) -> Any:
    """A dataset of DataFrames in the object store."""
    return _described(_as_refs(dfs), _converted, True)


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
    return read_source(RangeSource(n), parallelism, concurrency, override_num_blocks, {})


def range_tensor(
    n: int,
    *,
    shape: tuple[int, ...] = (1,),
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
) -> Dataset:
    """A dataset of n tensors of `shape` in column "data"; the i-th is filled with i."""
    return read_source(RangeSource(n, tuple(shape)), parallelism, concurrency, override_num_blocks, {})


REMOTE = (
    "num_cpus", "num_gpus", "memory", "label_selector", "fallback_strategy", "max_calls", "resources",
    "accelerator_type", "runtime_env",
)  # fmt: skip


def read_datasource(
    datasource: Datasource,
    *,
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
    ray_remote_args: dict[str, Any] | None = None,
    compute: Any = None,
    **options: Any,
) -> Dataset:
    """A dataset of a source of the user's own.

    Args:
        datasource: the source. concurrency: most read tasks at once. parallelism, override_num_blocks: number of
            read tasks. ray_remote_args and `options`: resources of the read tasks; of a source of an older form,
            other `options` are arguments of its reader. compute: `TaskPoolStrategy`, in the place of `concurrency`.
    """
    if compute is not None:
        if not isinstance(compute, TaskPoolStrategy):
            raise TypeError(f"read_datasource: compute must be TaskPoolStrategy, not {compute!r}")
        concurrency = compute.size
    resources = {name: options.pop(name) for name in REMOTE if name in options}
    remote_args = remote_arguments({**(ray_remote_args or {}), **resources})
    if isinstance(datasource, Datasource) and datasource.should_create_reader:
        datasource = ReaderSource(datasource, options)
    elif options:
        raise TypeError(f"read_datasource() got unexpected arguments {sorted(options)}")
    return read_source(datasource, parallelism, concurrency, override_num_blocks, remote_args)


def read_source(
    source: Datasource, parallelism: int, concurrency: int | None, blocks: int | None, remote_args: Any
) -> Dataset:
    """The dataset of a source; `blocks` goes before `parallelism`."""
    if blocks is not None and blocks < 1:
        raise ValueError(f"override_num_blocks must be 1 or more, not {blocks}")
    node = Read(
        source=source,
        parallelism=blocks or parallelism,
        remote_args=remote_args,
        compute=TaskPoolStrategy(concurrency),
    )
    return Dataset(node, DataContext.get_current().copy())


def __getattr__(name: str) -> Any:
    """The readers of files and tables, whose modules take a while to import."""
    if name.startswith(("read_", "from_")):
        from narke.data import _read_files, _read_tables

        for module in (_read_files, _read_tables):
            if name in module.__all__:
                return getattr(module, name)
    raise AttributeError(f"narke.data.read_api has no {name!r}")
