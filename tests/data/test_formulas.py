"""Formulas over columns of numbers: the same values as Arrow's, and sums of what is never made."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from narke import _native
from narke.data import aggregate as agg
from narke.data.expressions import col, lit
from narke.data.formulas import Computed, Sequence, formula_of
from narke.data.lazy import LazyBlock
from narke.data.partials import Partial, finish

INTS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False, width=64)
LEAVES = {
    "i": st.sampled_from([col("i"), col("j")]) | INTS.map(lit),
    "f": st.sampled_from([col("f"), col("g")]) | FLOATS.map(lit) | st.integers(-100, 100).map(lit),
}


def _of(kind):
    def more(parts):
        pairs = st.tuples(parts, parts)
        sums = pairs.map(lambda p: p[0] + p[1]) | pairs.map(lambda p: p[0] - p[1])
        made = sums | pairs.map(lambda p: p[0] * p[1])
        return made | pairs.map(lambda p: p[0] / p[1]) if kind == "f" else made

    return st.recursive(LEAVES[kind], more, max_leaves=8)


def _table(rows=3000):
    rng = np.random.default_rng(5)
    ints = rng.integers(-(2**63), 2**63 - 1, (2, rows))
    floats = rng.normal(0, 1e3, (2, rows))
    return pa.table({"i": ints[0], "j": ints[1], "f": floats[0], "g": floats[1]})


TABLE = _table()


@settings(max_examples=200, deadline=None)
@given(st.sampled_from("if").flatmap(_of), st.integers(0, 2999), st.integers(0, 3000))
def test_values_are_arrows(expr, start, rows):
    """The formula of an expression, over slices, has the values that Arrow computes."""
    block = TABLE.slice(start, rows)
    formula = formula_of(expr, block)
    if formula is None:
        return
    want = expr.evaluate(block)
    want = want.combine_chunks() if isinstance(want, pa.ChunkedArray) else want
    assert formula.type == want.type
    assert np.array_equal(np.asarray(formula.array()), np.asarray(want), equal_nan=want.type == pa.float64())


@pytest.mark.parametrize("expr", [col("i") + col("j") * 3, col("f") * (1 - col("g")), col("f") / 2.5 + 1])
def test_what_programs_write_is_a_formula(expr):
    """Plain arithmetic over one kind of numbers is computed in one pass."""
    assert formula_of(expr, TABLE) is not None


@pytest.mark.parametrize("expr", [col("i") / 2, col("i") + col("f"), col("i") % 2, col("i") > 1, col("i")])
def test_the_rest_is_arrows(expr):
    """What Arrow checks value by value, or what is no arithmetic, is none."""
    assert formula_of(expr, TABLE) is None


def test_nulls_and_narrow_numbers_are_arrows():
    """Columns with nulls, of other types, or in several chunks are no part of formulas."""
    nulls = pa.table({"x": pa.array([1, None])})
    narrow = pa.table({"x": pa.array([1, 2], pa.int32())})
    parts = pa.concat_tables([pa.table({"x": [1]}), pa.table({"x": [2]})])
    for block in (nulls, narrow, parts):
        assert formula_of(col("x") + 1, block) is None
        assert Computed(col("x") + 1)(block).to_pylist() == (col("x") + 1).evaluate(block).to_pylist()


def _lazy(rows, first=0):
    numbers = LazyBlock(rows, {"id": Sequence(first, rows)}, 8 * rows, {"id": pa.int64()})
    doubled = numbers.with_formulas({"id": Computed(col("id") * 2)})
    return doubled.with_formulas({"more": Computed(col("id") + 1)})


def test_formulas_of_formulas_are_not_made():
    """A formula over columns that are formulas reads none of them."""
    made = _lazy(5000, 7)
    assert made.formula("more") is not None
    assert made.column("more").to_pylist() == [2 * i + 1 for i in range(7, 5007)]


def test_sums_and_means_of_what_is_not_made():
    """Sums and means over formulas equal those over arrays; other aggregations make the column."""
    blocks = [_lazy(3000), _lazy(1), _lazy(0), _lazy(2500, 3000)]
    aggs = [agg.Sum("more"), agg.Mean("more"), agg.Count(), agg.Sum("id"), agg.Max("id")]
    partial = Partial([], aggs)
    result = finish([partial(block) for block in blocks], [], aggs)
    ids = [*range(3000), 0, *range(3000, 5500)]
    more = [2 * i + 1 for i in ids]
    assert result.column("sum(more)")[0].as_py() == sum(more)
    assert math.isclose(result.column("mean(more)")[0].as_py(), sum(more) / len(more))
    assert result.column("count()")[0].as_py() == len(ids)
    assert result.column("sum(id)")[0].as_py() == 2 * sum(ids)
    assert result.column("max(id)")[0].as_py() == 2 * 5499


@pytest.mark.parametrize(
    ("steps", "rows"),
    [
        ([], 1),
        ([("+", 0, None)], 1),
        ([("k", 1, None)] * 17, 1),
        ([("?", 1, None)], 1),
        ([("c", 0, b"1234567")], 1),
        ([("c", 1, bytes(8))], 1),
        ([("c", -1, bytes(8))], 1),
        ([("k", 1, None)], -1),
    ],
)
def test_what_is_no_formula_is_refused(steps, rows):
    """The engine looks at steps and buffers before it computes."""
    with pytest.raises(ValueError, match=r"formula|short|negative"):
        _native.columns_formula("i", steps, rows, None)


def test_datasets_sum_formulas(tmp_path):
    """Ranges and files give the same sums as numpy, whether a formula is summed or shown."""
    import narke.data

    numbers = narke.data.range(300_000).with_column("x", col("id") * 3 - 1)
    assert numbers.sum("x") == sum(3 * i - 1 for i in range(300_000))
    assert numbers.take(2) == [{"id": 0, "x": -1}, {"id": 1, "x": 2}]
    narke.data.from_arrow(TABLE).write_parquet(str(tmp_path))
    values = TABLE.column("f").to_numpy() * (1 - TABLE.column("g").to_numpy())
    read = narke.data.read_parquet(str(tmp_path)).with_column("x", col("f") * (1 - col("g")))
    assert math.isclose(read.sum("x"), values.sum(), rel_tol=1e-9)
    assert math.isclose(read.mean("x"), values.mean(), rel_tol=1e-9)
