"""`Dataset`: a lazy table in pieces. What it can do is in the mixins; here is what it is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import pyarrow as pa

from narke.data._consume import Consuming
from narke.data._interop import Interop
from narke.data._operators import Operators
from narke.data._split import Splitting
from narke.data._write import Writing
from narke.data.context import DataContext
from narke.data.display import dataset_text, known_rows, known_schema, schema_text
from narke.data.frames import has_frames
from narke.data.optimize import optimize
from narke.data.plan import Blocks, Bundle, Limit, Node, Read, explain

TensorFlowTensorBatchType: TypeAlias = Any
TensorflowFeatureTypeSpec: TypeAlias = Any
TorchBatchType: TypeAlias = Any
TorchDeviceType: TypeAlias = Any


class Schema:
    """Names and types of columns.

    Args:
        base_schema: Arrow schema.
    """

    def __init__(self, base_schema: pa.Schema, *, data_context: DataContext | None = None):
        self.base_schema = base_schema

    @property
    def names(self) -> list[str]:
        """Column names."""
        return list(self.base_schema.names)

    @property
    def types(self) -> list[pa.DataType]:
        """Arrow types, in the order of `names`."""
        return list(self.base_schema.types)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Schema) and self.base_schema.equals(other.base_schema)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return schema_text(self.base_schema)


class Dataset(Operators, Consuming, Splitting, Writing, Interop):
    """A lazy, distributed table: operators make new datasets, consumption runs them as a stream.

    Made by the functions of `narke.data`, not by its constructor.
    """

    def __init__(self, plan: Node, context: DataContext):
        self._plan = plan
        self._context = context
        self._name: str | None = None
        self._schema: Schema | None = None
        self._rows: int | None = None  # when it has run
        self._stats = ""

    def _derived(self, plan: Node) -> Dataset:
        made = Dataset(plan, self._context.copy())
        made._name = self._name
        return made

    def _bundles(self, plan: Node | None = None) -> Iterator[Bundle]:
        """Run the plan and give its bundles in order."""
        from narke.data.execute.executor import execute

        execution = execute(self._plan if plan is None else plan, self._context, self._name)
        rows = 0
        try:
            for bundle in execution:
                rows += bundle.rows
                if plan is None and self._schema is None:
                    self._schema = self._first_schema(iter([bundle]))
                yield bundle
            self._rows = rows if plan is None else self._rows
        finally:
            execution.close()
            self._stats = execution.stats()

    @property
    def context(self) -> DataContext:
        """The settings it runs with; its own copy."""
        return self._context

    @property
    def name(self) -> str | None:
        """The name given by `set_name`."""
        return self._name

    def set_name(self, name: str | None) -> None:
        """Name it, for people who read its text."""
        self._name = name

    def materialize(self) -> MaterializedDataset:
        """Run it now, and keep its blocks in the object store.

        Returns:
            a dataset of those blocks, that runs nothing again.
        """
        blocks = Blocks((), tuple(self._bundles()), has_frames(self._plan))
        done = MaterializedDataset(blocks, self._context.copy())
        done._stats, done._name = self._stats, self._name
        return done

    def schema(self, fetch_if_missing: bool = True) -> Schema | None:
        """Names and types of its columns.

        Args:
            fetch_if_missing: run as much as it takes to know them; else None is given when they are not known.
        """
        if self._schema is None and isinstance(self._plan, Blocks):
            self._schema = self._first_schema(iter(self._plan.bundles))
        if self._schema is None and fetch_if_missing:
            self._schema = self._first_schema(self._bundles(Limit((self._plan,), 1)))
        return self._schema

    @staticmethod
    def _first_schema(bundles: Iterator[Bundle]) -> Schema | None:
        found = None
        for bundle in bundles:
            if bundle.schema is not None and len(bundle.schema):
                found = Schema(bundle.schema.remove_metadata())
                if bundle.rows:
                    break
        return found

    def columns(self, fetch_if_missing: bool = True) -> list[str] | None:
        """Names of its columns; see `schema`."""
        schema = self.schema(fetch_if_missing)
        return None if schema is None else schema.names

    def explain(self) -> None:
        """Print its plan, as it was made and as it runs."""
        print(f"Logical plan\n{explain(self._plan)}\nOptimised plan\n{explain(optimize(self._plan))}")

    def stats(self) -> str:
        """What each operator did when it ran last; empty before."""
        return self._stats

    def num_blocks(self) -> int:
        """Number of blocks of a materialised dataset.

        Raises:
            NotImplementedError: it has not run, so that nobody knows.
        """
        raise NotImplementedError("a dataset has blocks only once it has run: use materialize().num_blocks()")

    def input_files(self) -> list[str]:
        """The files that it reads."""
        from narke.data.execute.executor import read_tasks

        found: dict[str, None] = {}
        for node in _all_nodes(self._plan):
            for task in (
                read_tasks(node, self._context, 1, self._context.target_max_block_size)
                if isinstance(node, Read)
                else []
            ):
                found.update(dict.fromkeys((task.metadata and task.metadata.input_files) or ()))
        return list(found)

    def __repr__(self) -> str:
        known = self.schema(fetch_if_missing=False)
        schema = known_schema(self._plan) if known is None else known.base_schema
        return dataset_text(self, schema, self._rows if self._rows is not None else known_rows(self._plan))

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        raise TypeError("a dataset has no len(), which would run it: use count()")

    def __iter__(self) -> Any:
        raise TypeError("a dataset is not an iterator: use iter_rows() or iter_batches()")


class MaterializedDataset(Dataset):
    """A dataset whose blocks are in the object store."""

    def num_blocks(self) -> int:
        """Number of its blocks."""
        assert isinstance(self._plan, Blocks)
        return len(self._plan.bundles)

    def _known(self) -> tuple[Bundle, ...]:
        assert isinstance(self._plan, Blocks)
        return self._plan.bundles

    def materialize(self) -> MaterializedDataset:
        """Itself: it has run."""
        return self


def _all_nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.inputs:
        yield from _all_nodes(child)
