"""Datasets handed to other libraries, and what is told of them."""

from __future__ import annotations

import copy
import pickle
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cloudpickle

import narke
from narke.data import blocks as blk
from narke.data.block import RefBundle
from narke.data.plan import Blocks, Node

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


class Interop:
    """The part of `Dataset` that leads elsewhere."""

    _plan: Node

    def to_dask(self, meta: Any = None, verify_meta: bool = True) -> Any:
        """A Dask DataFrame, a partition a block. `meta`: an empty frame of its columns, else found here."""
        import dask
        import dask.dataframe as dd

        @dask.delayed
        def frame(block: Any) -> Any:
            return blk.to_pandas(narke.get(block) if isinstance(block, narke.ObjectRef) else block)

        refs = self.get_internal_block_refs()  # type: ignore[attr-defined]
        if meta is None:
            schema = self.schema()  # type: ignore[attr-defined]
            meta = blk.to_pandas(schema.base_schema.empty_table()) if schema else None
        return dd.from_delayed([frame(ref) for ref in refs], meta=meta, verify_meta=verify_meta)

    def to_modin(self) -> Any:
        """A Modin DataFrame, made of the blocks' frames."""
        from modin.distributed.dataframe.pandas.partitions import from_partitions

        return from_partitions(self.to_pandas_refs(), axis=0)  # type: ignore[attr-defined]

    def to_spark(self, spark: Any) -> Any:
        """A Spark DataFrame in a session; the rows go through the driver."""
        return spark.createDataFrame(self.to_pandas())  # type: ignore[attr-defined]

    def to_daft(self) -> Any:
        """A Daft DataFrame of the blocks."""
        import daft

        tables = narke.get(self.to_arrow_refs())  # type: ignore[attr-defined]
        return daft.from_arrow(blk.concat(tables))

    def to_random_access_dataset(self, key: str, num_workers: int | None = None) -> Any:
        """Rows by key, kept in actors.

        Args:
            key: column. num_workers: actors, four by default.
        """
        from narke.data.random_access_dataset import RandomAccessDataset

        return RandomAccessDataset(self, key, num_workers or 4)  # type: ignore[arg-type]

    def iter_internal_ref_bundles(self) -> Iterator[Any]:
        """Its blocks: reference, rows, bytes and schema of each."""
        return (RefBundle(bundle) for bundle in self._bundles())  # type: ignore[attr-defined]

    @classmethod
    def copy(cls, ds: Dataset, _deep_copy: bool = False, _as: type | None = None) -> Any:
        """A copy of a dataset; `_deep_copy` copies its settings, too."""
        made = copy.copy(ds)
        if _as is not None:
            made.__class__ = _as
        if _deep_copy:
            made._context = ds._context.copy()
        return made

    def get_dataset_id(self) -> str:
        """A name of its own, that copies share."""
        if not hasattr(self, "_id"):
            self._id = f"dataset_{uuid.uuid4().hex[:12]}"
        return self._id

    def has_serializable_lineage(self) -> bool:
        """Whether it can be sent to another cluster: it holds no blocks of this one."""
        return not any(isinstance(node, Blocks) and node.bundles for node in _nodes(self._plan))

    def serialize_lineage(self) -> bytes:
        """How it is made, as bytes.

        Raises:
            ValueError: it holds blocks of this cluster.
        """
        if not self.has_serializable_lineage():
            raise ValueError(
                "it is made of blocks of this cluster: only what is read anew can be sent elsewhere"
            )
        return cloudpickle.dumps((self._plan, self._context))  # type: ignore[attr-defined]

    @staticmethod
    def deserialize_lineage(serialized_ds: bytes) -> Dataset:
        """The dataset that `serialize_lineage` made bytes of. Read only bytes that you trust: they are a pickle."""
        from narke.data.dataset import Dataset

        return Dataset(*pickle.loads(serialized_ds))

    def summary(self, columns: list[str] | None = None, override_dtype_agg_mapping: Any = None) -> Any:
        """Counts, extremes, means and shares of missing values of its columns.

        Args:
            columns: by default all. override_dtype_agg_mapping: dict from Arrow type to a function from a column's name
                to aggregations for it.
        """
        from narke.data.stats import summarize

        return summarize(self, columns, override_dtype_agg_mapping)  # type: ignore[arg-type]


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.inputs:
        yield from _nodes(child)
