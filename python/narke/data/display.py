"""How datasets and schemas are shown: a table in a frame where columns are known, else operators and their source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

import narke
from narke.data import columns, exchange
from narke.data import tensor_types as tensors
from narke.data.blocks import zipped
from narke.data.expressions import AliasExpr, BinaryExpr, ColumnExpr, LiteralExpr
from narke.data.plan import Blocks, Gather, Limit, Map, Node, Read, Union
from narke.data.plan import known_rows as counted_rows
from narke.data.projection import Project, Where, WithColumn, WithExpressions
from narke.data.transforms import step_title

ROWS = 10  # shown at most, half of them from the end
WIDTH = 40  # letters of a cell
KEEPING = (
    exchange.Sort,
    exchange.RandomShuffle,
    exchange.Repartition,
    exchange.RowTarget,
    exchange.ShuffleOrder,
)
SIGNS = dict(
    zip(
        "add sub mul div mod floordiv gt lt ge le eq ne and or".split(),
        "+ - * / % // > < >= <= == != & |".split(),
        strict=True,
    )
)
NAMES = {exchange.ShuffleOrder: "RandomizeBlockOrder", exchange.RowTarget: "StreamingRepartition"}


def type_text(kind: Any) -> str:
    """A column's type as a schema shows it; tensors and objects as Ray calls them."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return f"ArrowTensorTypeV2(shape={tuple(kind.shape)}, dtype={kind.value_type})"
    if isinstance(kind, tensors.ArrowVariableShapedTensorType):
        return f"ArrowVariableShapedTensorType(ndim={kind.ndim}, dtype={kind.value_type})"
    return str(kind)


def schema_text(schema: pa.Schema) -> str:
    """Names and types, one a line."""
    width = max([6, *(len(name) for name in schema.names)])
    lines = [f"{'Column':{width}}  Type", f"{'-' * 6:{width}}  ----"]
    return "\n".join([*lines, *(f"{field.name:{width}}  {type_text(field.type)}" for field in schema)])


def known_schema(node: Node) -> pa.Schema | None:
    """The columns of a plan, where they are known without running anything."""
    if isinstance(node, Blocks):
        found = (b.schema for b in node.bundles if b.schema is not None and len(b.schema))
        return next(found, None)
    if isinstance(node, Read):
        return node.source.known_schema() if not node.steps else None
    if isinstance(node, Gather):
        return _gathered_schema(node)
    before = known_schema(node.inputs[0])
    if before is None or isinstance(node, Limit | Union):
        return before
    if isinstance(node, Map) and node.projection is not None:
        pairs = [(new, old) for new, old in node.projection if old in before.names]
        return pa.schema([before.field(old).with_name(new) for new, old in pairs])
    return before if isinstance(node, Map) and isinstance(node.steps[-1].fn, Where) else None


def _gathered_schema(node: Gather) -> pa.Schema | None:
    if isinstance(node.planner, KEEPING):
        return known_schema(node.inputs[0])
    if isinstance(node.planner, exchange.Zip):
        left, right = (known_schema(side) for side in node.inputs)
        return (
            None if left is None or right is None else zipped(left.empty_table(), right.empty_table()).schema
        )
    if not isinstance(node.planner, exchange.Aggregate):
        return None
    before = known_schema(node.inputs[0].inputs[0])
    if before is None or not set(node.planner.keys) <= set(before.names):
        return None
    fields = [before.field(key) for key in node.planner.keys]
    made = [one.output_field(before) for one in node.planner.aggs]
    return None if any(field is None for field in made) else pa.schema([*fields, *made])


def dataset_text(dataset: Any, schema: pa.Schema | None, rows: int | None) -> str:
    """A dataset as a table in a frame; without known columns as its operators.

    Args:
        schema: columns, when they are known. rows: how many, when that is known.
    """
    plan = dataset._plan
    if schema is None or not len(schema):
        return _tree(plan, dataset.name)
    name = [f"name: {dataset.name}"] if dataset.name else []
    shape = f"shape: ({'?' if rows is None else rows}, {len(schema)})"
    if not isinstance(plan, Blocks):
        frame = _frame(schema, None)
        return "\n".join([*name, shape, *frame, "(Dataset isn't materialized)"])
    shown = _some_rows(plan, rows or 0)
    count = min(ROWS, rows or 0)
    return "\n".join([*name, shape, *_frame(schema, shown), f"(Showing {count} of {rows} rows)"])


def _some_rows(plan: Blocks, rows: int) -> list[list[str]]:
    """The texts of the first rows, and of the last where there are too many to show."""
    first = rows if rows <= ROWS else ROWS // 2
    made = _texts(plan.bundles, first)
    if rows > ROWS:
        made.append(["…"] * len(made[0]))
        made += reversed(_texts(plan.bundles, ROWS - first, from_end=True))
    return made


def _texts(bundles: Sequence[Any], count: int, from_end: bool = False) -> list[list[str]]:
    made: list[list[str]] = []
    for bundle in reversed(bundles) if from_end else bundles:
        take = min(count - len(made), bundle.rows)
        if take > 0:
            table = narke.get(bundle.ref)
            part = table.slice(table.num_rows - take if from_end else 0, take)
            rows = list(zip(*(map(str, columns.to_values(c)) for c in part.columns), strict=True))
            made += [list(row) for row in (reversed(rows) if from_end else rows)]
    return made


def _frame(schema: pa.Schema, rows: list[list[str]] | None) -> list[str]:
    heads = [list(schema.names), ["---"] * len(schema), [type_text(kind) for kind in schema.types]]
    lines = [[_short(cell) for cell in line] for line in [*heads, *(rows or [])]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = [
        "│ " + " ┆ ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " │" for line in lines
    ]
    top, bottom = (_edge(widths, *ends) for ends in ("╭─┬╮", "╰─┴╯"))
    middle = [] if not rows else [_edge(widths, *"╞═╪╡")]
    return [top, *texts[: len(heads)], *middle, *texts[len(heads) :], bottom]


def _edge(widths: list[int], left: str, line: str, cross: str, right: str) -> str:
    return left + cross.join(line * (width + 2) for width in widths) + right


def _short(text: str) -> str:
    flat = " ".join(text.split("\n"))
    return flat if len(flat) <= WIDTH else flat[: WIDTH - 1] + "…"


def _tree(node: Node, name: str | None) -> str:
    """The operators, the last first, and under them what they begin with."""
    lines: list[str] = []
    one = True
    while node.inputs:
        lines.append("   " * (len(lines) - 1) + ("+- " if lines else "") + _title(node))
        one = one and len(node.inputs) == 1
        node = _before(node)
    named = f"name={name}, " if name else ""
    source = f"Dataset({named}num_rows=?, schema=Unknown schema)"
    schema, rows = known_schema(node), known_rows(node)
    if one and schema is not None:
        fields = ", ".join(f"{field.name}: {type_text(field.type)}" for field in schema)
        source = f"Dataset({named}num_rows={'?' if rows is None else rows}, schema={{{fields}}})"
    return "\n".join([*lines, "   " * (len(lines) - 1) + ("+- " if lines else "") + source])


def _before(node: Node) -> Node:
    """The node before what one call of the user's made."""
    before = node.inputs[0]
    if isinstance(node, Gather) and isinstance(node.planner, exchange.Aggregate):
        before = before.inputs[0]  # the partial results, and the choice of columns for them
        return before.inputs[0] if isinstance(before, Map) and before.projection is not None else before
    return before


def known_rows(node: Node) -> int | None:
    """Number of rows of a plan, when it is known without running anything; operators over all rows count as run."""
    if isinstance(node, Gather):
        return known_rows(node.inputs[0]) if isinstance(node.planner, KEEPING) else None
    if isinstance(node, Limit):
        before = known_rows(node.inputs[0])
        return None if before is None else min(node.rows, before)
    return counted_rows(node)


def _title(node: Node) -> str:
    if isinstance(node, Limit):
        return f"limit={node.rows}"
    if isinstance(node, Gather):
        return NAMES.get(type(node.planner), node.name)
    if not isinstance(node, Map):
        return node.name
    function = node.steps[-1].fn
    if isinstance(function, Where):
        return f"Filter({inline(function.predicate)})"
    if isinstance(function, WithColumn):
        return "MapBatches(add_column)"
    if getattr(function, "__name__", "") == "random_sample":
        return "MapBatches(random_sample)"
    if isinstance(function, Project) and function.drops:
        return "MapBatches(drop_columns)"
    return "Project" if isinstance(function, Project | WithExpressions) else step_title(node.steps[-1])


def inline(expr: Any) -> str:
    """An expression on one line, values as they are."""
    if isinstance(expr, ColumnExpr):
        return f"col({expr.name!r})"
    if isinstance(expr, LiteralExpr):
        return repr(expr.value)
    if isinstance(expr, AliasExpr):
        return inline(expr.expr)
    sign = SIGNS.get(expr.op.value) if isinstance(expr, BinaryExpr) else None
    if sign is None:
        return str(expr)
    sides = (f"({inline(e)})" if isinstance(e, BinaryExpr) else inline(e) for e in (expr.left, expr.right))
    return f" {sign} ".join(sides)
