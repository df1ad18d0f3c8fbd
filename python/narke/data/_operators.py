"""Operators of datasets: each gives a new, lazy dataset."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import compute as computing
from narke.data import exchange
from narke.data._arguments import remote_arguments
from narke.data.expression_text import parse
from narke.data.expressions import Expr, StarExpr, UnnestExpr
from narke.data.frames import fitting
from narke.data.mixing import Mix, MixStoppingCondition, checked_weights
from narke.data.near_names import unknown
from narke.data.plan import Gather, Limit, Map, Node, Union
from narke.data.projection import Project, Where, WithColumn, WithExpressions
from narke.data.random_config import RandomSeedConfig
from narke.data.transforms import Step

if TYPE_CHECKING:
    from narke.data.dataset import Dataset
    from narke.data.grouped_data import GroupedData

JOIN_TYPES = {
    "inner": "inner",
    "left_outer": "left outer",
    "right_outer": "right outer",
    "full_outer": "full outer",
    "left_semi": "left semi",
    "right_semi": "right semi",
    "left_anti": "left anti",
    "right_anti": "right anti",
}


SHARED = ("compute", "fn_args", "fn_kwargs", "fn_constructor_args", "fn_constructor_kwargs", "num_cpus", "num_gpus",
          "memory", "concurrency")  # fmt: skip


def _shared(given: dict[str, Any]) -> dict[str, Any]:
    """The options that all maps share, out of the arguments (`locals()`) of one of them."""
    return {**{name: given[name] for name in SHARED}, **given["ray_remote_args"]}


class Operators:
    """The part of `Dataset` that makes datasets of datasets."""

    _plan: Node

    def _derived(self, plan: Node) -> Dataset:
        raise NotImplementedError

    def _mapped(self, kind: str, fn: Any, keeps_rows: bool, options: dict[str, Any], **how: Any) -> Dataset:
        """A map operator from the arguments that all of them take."""
        _check_function(fn, options)
        strategy = computing.choose(fn, options.pop("compute", None), options.pop("concurrency", None))
        step = Step(
            kind,
            fn,
            tuple(options.pop("fn_args", None) or ()),
            dict(options.pop("fn_kwargs", None) or {}),
            tuple(options.pop("fn_constructor_args", None) or ()),
            dict(options.pop("fn_constructor_kwargs", None) or {}),
            **how,
        )
        pooled = isinstance(strategy, computing.ActorPoolStrategy)
        return self._derived(
            Map(
                (self._plan,),
                (step,),
                strategy,
                remote_arguments(options),
                keeps_rows=keeps_rows,
                min_rows=step.batch_size if pooled else None,
            )
        )

    def map_batches(
        self,
        fn: Any,
        *,
        batch_size: int | str | None = None,
        batch_format: str | None = "default",
        zero_copy_batch: bool = True,
        udf_modifying_row_count: bool = True,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, ...] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Apply a function to batches.

        Args:
            fn: from a batch to a batch (dict of arrays, DataFrame or Arrow table) or to an iterator of batches; or a
                class with such a `__call__`, which is built once in each actor of a pool.
            batch_size: rows of a batch; None gives whole blocks.
            batch_format: "numpy" ("default"), "pandas" or "pyarrow".
            zero_copy_batch: False gives the function arrays that it may write to.
            udf_modifying_row_count: False promises a row for each row, so that a limit may be taken before.
            compute, concurrency: where it runs: `TaskPoolStrategy`, `ActorPoolStrategy`; or a number, or (min, max).
            fn_args, fn_kwargs, fn_constructor_args, fn_constructor_kwargs: further arguments of function and class.
            num_cpus and the other options of `narke.remote`: what each task or actor holds.
        """
        options = _shared(locals())
        blk.check_format(batch_format)
        if batch_size == "default":
            batch_size = None
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise ValueError(f"batch_size must be a positive number or None, not {batch_size!r}")
        kind = "batches" if zero_copy_batch else "owned_batches"
        return self._mapped(
            kind, fn, not udf_modifying_row_count, options, batch_size=batch_size, batch_format=batch_format
        )

    def map(
        self,
        fn: Any,
        *,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, ...] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Apply a function from row to row (dicts). Options are those of `map_batches`."""
        options = _shared(locals())
        return self._mapped("rows", fn, True, options)

    def flat_map(
        self,
        fn: Any,
        *,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, ...] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Apply a function from row to list of rows. Options are those of `map_batches`."""
        options = _shared(locals())
        return self._mapped("flat", fn, False, options)

    def filter(
        self,
        fn: Any = None,
        expr: Any = None,
        *,
        compute: Any = None,
        fn_args: Iterable[Any] | None = None,
        fn_kwargs: dict[str, Any] | None = None,
        fn_constructor_args: Iterable[Any] | None = None,
        fn_constructor_kwargs: dict[str, Any] | None = None,
        num_cpus: float | None = None,
        num_gpus: float | None = None,
        memory: float | None = None,
        concurrency: int | tuple[int, ...] | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """Keep the rows for which a function of the row, or an expression, holds.

        Args:
            fn: function or class. expr: an expression, or its text such as ``"x > 3"``, which needs no Python per row.
            the rest: as in `map_batches`.
        """
        if (fn is None) == (expr is None):
            raise ValueError("filter: give either a function or expr")
        options = _shared(locals())
        if isinstance(fn, Expr):
            fn, expr = None, fn
        if expr is None:
            return self._mapped("filter", fn, False, options)
        predicate = fitting(parse(expr) if isinstance(expr, str) else expr, self._plan)
        known = None if predicate.needs_rows else predicate
        return self._stepped(Where(predicate), _of_tables(options), predicate=known)

    def _stepped(self, fn: Callable[[pa.Table], pa.Table], options: dict[str, Any], **about: Any) -> Dataset:
        """An operator that works on whole Arrow tables."""
        strategy = computing.choose(fn, options.pop("compute", None), options.pop("concurrency", None))
        step = Step("block", fn)
        return self._derived(Map((self._plan,), (step,), strategy, remote_arguments(options), **about))

    def select_columns(self, cols: str | list[str], **options: Any) -> Dataset:
        """Keep these columns, in this order."""
        names = [cols] if isinstance(cols, str) else list(cols)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"select_columns: names must be given, each once; not {names}")
        pairs = tuple((name, name) for name in names)
        return self._stepped(Project(pairs), options, keeps_rows=True, projection=pairs)

    def drop_columns(self, cols: str | list[str], **options: Any) -> Dataset:
        """Leave out these columns."""
        names = [cols] if isinstance(cols, str) else list(cols)
        if len(set(names)) < len(names):
            raise ValueError(f"drop_columns: each name once, not {names}")
        return self._stepped(Project(drop=tuple(names)), options, keeps_rows=True)

    def rename_columns(self, names: dict[str, str] | list[str], **options: Any) -> Dataset:
        """Rename columns: those in a dict from old to new, or all of them by a list."""
        if len(set(names.values() if isinstance(names, dict) else names)) < len(names):
            raise ValueError(f"rename_columns: new names must differ: {names}")
        return self._stepped(Project(rename=names), options, keeps_rows=True)

    def add_column(
        self, col: str, fn: Callable[[Any], Any], *, batch_format: str | None = "pandas", **options: Any
    ) -> Dataset:
        """Add (or replace) a column, which a function makes of a batch."""
        blk.check_format(batch_format)
        if not callable(fn):
            raise ValueError(f"add_column: fn must be callable, not {fn!r}")
        return self._stepped(WithColumn(col, fn, batch_format), options, keeps_rows=True)

    def with_column(self, column_name: str, expr: Any, **options: Any) -> Dataset:
        """Add (or replace) a column by an expression."""
        return self._with_expressions({column_name: expr}, options)

    def with_columns(self, exprs: Any = None, *more_exprs: Any, **options: Any) -> Dataset:
        """Add (or replace) columns by expressions, each of which sees those before it.

        Args:
            exprs: dict from name to expression, or a list of expressions with names. more_exprs: such expressions.
                `unnest` of a struct makes a column of each of its fields; `star` is what is there anyway.
        """
        given = exprs if isinstance(exprs, dict) else {}
        first = [] if exprs is None or given else [exprs] if isinstance(exprs, Expr) else list(exprs)
        for expr in self._single_columns([*first, *more_exprs]):
            if not isinstance(expr, Expr) or expr.name is None:
                raise ValueError(f"with_columns: {expr!r} needs a name: use alias('name')")
            given = {**given, expr.name: expr}
        return self._with_expressions(given, options)

    def _single_columns(self, exprs: list[Any]) -> list[Any]:
        """Expressions of one column each."""
        made: list[Any] = []
        for expr in exprs:
            if isinstance(expr, UnnestExpr):
                schema = None if expr.expr.data_type.is_struct_type() else self.schema()  # type: ignore[attr-defined]
                made.extend(expr.expand_projection(schema.base_schema if schema else None))
            elif not isinstance(expr, StarExpr):
                made.append(expr)
        return made

    def _with_expressions(self, exprs: dict[str, Any], options: dict[str, Any]) -> Dataset:
        for expr in exprs.values():
            if not isinstance(expr, Expr):
                raise TypeError(f"with_column: expr must be an expression such as col('x') + 1, not {expr!r}")
        strategy = computing.choose(None, options.pop("compute", None), options.pop("concurrency", None))
        step = Step("stream", WithExpressions({name: fitting(e, self._plan) for name, e in exprs.items()}))
        remote_args = remote_arguments(options)
        return self._derived(Map((self._plan,), (step,), strategy, remote_args, keeps_rows=True))

    def random_sample(self, fraction: float, *, seed: int | None = None) -> Dataset:
        """Keep each row with probability `fraction`."""
        if not 0 <= fraction <= 1:
            raise ValueError(f"random_sample: fraction must be from 0 to 1, not {fraction}")
        base = secrets.randbits(32) if seed is None else seed

        def random_sample(index: int, blocks: Iterable[pa.Table]) -> Iterable[pa.Table]:
            rng = np.random.default_rng([base, index])
            return (block.filter(pa.array(rng.random(block.num_rows) < fraction)) for block in blocks)

        return self._derived(Map((self._plan,), (Step("stream", random_sample),)))

    def limit(self, limit: int) -> Dataset:
        """The first rows."""
        if not isinstance(limit, int) or limit < 0:
            raise ValueError(f"limit must be a number of rows, not {limit!r}")
        return self._derived(Limit((self._plan,), limit))

    def _gathered(self, planner: Any, *others: Any) -> Dataset:
        return self._derived(Gather((self._plan, *(other._plan for other in others)), planner))

    def repartition(
        self,
        num_blocks: int | None = None,
        target_num_rows_per_block: int | None = None,
        *,
        strict: bool = False,
        shuffle: bool = False,
        keys: list[str] | None = None,
        sort: bool = False,
    ) -> Dataset:
        """The same rows in other blocks.

        Args:
            num_blocks: number of blocks. target_num_rows_per_block: instead, rows of each.
            shuffle: rows also change places. keys: rows with equal keys share a block; `sort` orders them by it.
        """
        if (num_blocks is None) == (target_num_rows_per_block is None):
            raise ValueError("repartition: give either num_blocks or target_num_rows_per_block")
        if target_num_rows_per_block is not None:
            return self._gathered(exchange.RowTarget(target_num_rows_per_block))
        assert num_blocks is not None
        if num_blocks < 1:
            raise ValueError(f"repartition: num_blocks must be 1 or more, not {num_blocks}")
        if keys:
            return self._gathered(exchange.HashPartition(list(keys), num_blocks, sort))
        return (
            self.random_shuffle(num_blocks=num_blocks)
            if shuffle
            else self._gathered(exchange.Repartition(num_blocks))
        )

    def random_shuffle(
        self,
        *,
        seed: int | RandomSeedConfig | None = None,
        num_blocks: int | None = None,
        **ray_remote_args: Any,
    ) -> Dataset:
        """All rows in random order; the same seed over the same blocks gives the same order.

        Args:
            seed: a number, or `RandomSeedConfig`. num_blocks: of the result. ray_remote_args: what tasks hold.
        """
        planner = exchange.RandomShuffle(seed, num_blocks)
        return self._derived(Gather((self._plan,), planner, remote_arguments(ray_remote_args)))

    def randomize_block_order(self, *, seed: int | None = None) -> Dataset:
        """The blocks in random order, each as it is."""
        return self._gathered(exchange.ShuffleOrder(seed))

    def sort(
        self, key: str | list[str], descending: bool | list[bool] = False, boundaries: list[Any] | None = None
    ) -> Dataset:
        """All rows in order of one or more columns; nulls last.

        Args:
            key: column or columns. descending: for all, or one each.
            boundaries: values of the first key at which blocks end; by default a sample shows them.
        """
        keys = [key] if isinstance(key, str) else list(key)
        down = [descending] * len(keys) if isinstance(descending, bool) else list(descending)
        if not keys or len(down) != len(keys):
            raise ValueError(f"sort: {len(keys)} keys and {len(down)} directions do not fit")
        if boundaries is not None and len(keys) > 1:
            raise ValueError("sort: boundaries are for a single key")
        return self._gathered(exchange.Sort(keys, down, boundaries))

    def groupby(self, key: str | list[str] | None, num_partitions: int | None = None) -> GroupedData:
        """Group rows by one or more columns; None makes one group of all.

        Raises:
            ValueError: it is no name of a column.
        """
        from narke.data.grouped_data import GroupedData

        return GroupedData(self, key, num_partitions=num_partitions)  # type: ignore[arg-type]

    def mix(
        self,
        *other: Dataset,
        weights: list[float] | None = None,
        stopping_condition: MixStoppingCondition = MixStoppingCondition.STOP_ON_LONGEST_DROP,
    ) -> Dataset:
        """The blocks of this and other datasets in turns, so that their rows keep to shares.

        Args:
            weights: share of each, this one first; equal by default. stopping_condition: see there.
        """
        plans = (self._plan, *(ds._plan for ds in other))
        shares = checked_weights(weights, len(plans))
        shortest = stopping_condition is MixStoppingCondition.STOP_ON_SHORTEST
        return self._derived(Mix(plans, shares, shortest))

    def union(self, *other: Any) -> Dataset:
        """Its rows, then those of the others."""
        return self._derived(Union((self._plan, *(o._plan for o in other))))

    def zip(self, *other: Any) -> Dataset:
        """Its columns beside those of datasets of equally many rows; names that meet get "_1" and so on."""
        made: Any = self
        for one in other:
            made = made._gathered(exchange.Zip(), one)
        return made

    def join(
        self,
        ds: Any,
        join_type: str,
        num_partitions: int,
        on: tuple[str, ...] = ("id",),
        right_on: tuple[str, ...] | None = None,
        left_suffix: str | None = None,
        right_suffix: str | None = None,
        *,
        partition_size_hint: int | None = None,
        aggregator_ray_remote_args: dict[str, Any] | None = None,
        validate_schemas: bool = False,
    ) -> Dataset:
        """Rows of two datasets with equal keys side by side.

        Args:
            ds: the right side. join_type: one of `JOIN_TYPES`, such as "inner" or "left_outer".
            num_partitions: number of blocks. on, right_on: key columns of the left and right side.
            left_suffix, right_suffix: added to names of other columns that are on both sides.
            partition_size_hint: bytes of one partition, which its task asks for as memory.
            aggregator_ray_remote_args: what tasks hold. validate_schemas: look at both sides now, and refuse keys that
            are not there or differ in type.

        Raises:
            ValueError: there is no such join_type, or the keys do not fit.
        """
        if join_type not in JOIN_TYPES:
            raise ValueError(f"join_type must be one of {sorted(JOIN_TYPES)}, not {join_type!r}")
        left = (on,) if isinstance(on, str) else tuple(on)
        right = left if right_on is None else (right_on,) if isinstance(right_on, str) else tuple(right_on)
        if validate_schemas:
            _check_keys(self.schema(), ds.schema(), left, right)  # type: ignore[attr-defined]
        suffixes = (left_suffix, right_suffix)
        memory = {} if partition_size_hint is None else {"memory": partition_size_hint}
        options = remote_arguments({**memory, **(aggregator_ray_remote_args or {})})
        planner = exchange.Join(JOIN_TYPES[join_type], left, right, num_partitions, suffixes)
        return self._derived(Gather((self._plan, ds._plan), planner, options))


def _check_keys(left: Any, right: Any, left_keys: tuple[str, ...], right_keys: tuple[str, ...]) -> None:
    """Raises ValueError when keys of a join are not there, or differ in type."""
    if len(left_keys) != len(right_keys):
        raise ValueError(f"join: {list(left_keys)} and {list(right_keys)} must be equally many")
    kinds = []
    for schema, keys in ((left, left_keys), (right, right_keys)):
        names = [] if schema is None else schema.names
        missing = [key for key in keys if key not in names]
        if missing:
            raise ValueError(f"cannot join: {unknown(missing, names)}")
        kinds.append([schema.base_schema.field(key).type for key in keys])
    if kinds[0] != kinds[1]:
        raise ValueError(f"join: keys must have the same types on both sides, not {kinds[0]} and {kinds[1]}")


def _check_function(fn: Any, options: dict[str, Any]) -> None:
    if not callable(fn):
        raise ValueError(f"a function or a class with __call__ is needed, not {fn!r}")
    if isinstance(fn, type) and not hasattr(fn, "__call__"):  # noqa: B004
        raise ValueError(f"class {fn.__name__} needs a __call__ method")
    given = options.get("fn_constructor_args") or options.get("fn_constructor_kwargs")
    if given and not isinstance(fn, type):
        raise ValueError("fn_constructor_args and fn_constructor_kwargs are for classes; this is a function")


def _of_tables(options: dict[str, Any]) -> dict[str, Any]:
    """Options of an operator without a function of the user's, which takes no arguments for one."""
    return {name: value for name, value in options.items() if not name.startswith("fn_")}
