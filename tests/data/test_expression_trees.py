"""What expressions are made of, and what is known of them before any row is there."""

import pyarrow as pa
import pytest
import ray
from ray.data.datatype import DataType
from ray.data.expressions import (
    AliasExpr,
    BinaryExpr,
    ColumnExpr,
    DownloadExpr,
    LiteralExpr,
    Operation,
    PyArrowComputeUDFExpr,
    RandomExpr,
    UDFExpr,
    UnaryExpr,
    col,
    expand_star_exprs,
    exprlist_to_fields,
    is_rename_expr,
    lit,
    monotonically_increasing_id,
    pyarrow_udf,
    random,
    star,
    udf,
    unnest,
    uuid,
)

SCHEMA = pa.schema(
    [
        pa.field("x", pa.int64(), nullable=False),
        pa.field("y", pa.float32()),
        pa.field("p", pa.struct([("a", pa.int32()), ("b", pa.string())])),
    ]
)


@udf(return_dtype=DataType.float64())
def halved(values):
    return values / 2


TYPES = {
    "column": (lambda: col("x"), pa.int64(), False),
    "sum": (lambda: col("x") + 1, pa.int64(), False),
    "sum of floats": (lambda: col("x") + col("y"), pa.float32(), True),
    "comparison": (lambda: col("y") > 1, pa.bool_(), True),
    "null test": (lambda: col("y").is_null(), pa.bool_(), False),
    "negation": (lambda: ~(col("x") > 1), pa.bool_(), False),
    "membership": (lambda: col("x").is_in([1]), pa.bool_(), False),
    "literal": (lambda: lit("a"), pa.string(), False),
    "function": (lambda: halved(col("x")), pa.float64(), False),
    "cast": (lambda: col("x").cast(DataType.string()), pa.string(), False),
    "method": (lambda: col("p").struct.field("b").str.upper(), pa.string(), True),
    "random": (lambda: random(seed=1), pa.float64(), False),
    "number": (lambda: monotonically_increasing_id(), pa.int64(), False),
}


@pytest.mark.parametrize("name", list(TYPES))
def test_types_are_known_without_rows(name):
    make, kind, nullable = TYPES[name]
    field = make().alias("v").to_field(SCHEMA)
    assert (field.name, field.type, field.nullable) == ("v", kind, nullable)


def test_an_unknown_column_has_no_type():
    assert (col("z") + 1).get_type(SCHEMA) is None
    assert exprlist_to_fields([col("z").alias("v")], SCHEMA) is None


def test_parts():
    made = (col("x") + 1).alias("v")
    assert isinstance(made, AliasExpr) and isinstance(made.expr, BinaryExpr)
    assert made.expr.op is Operation.ADD and isinstance(made.expr.left, ColumnExpr)
    assert isinstance(made.expr.right, LiteralExpr) and made.expr.right.value == 1
    assert isinstance(~col("x"), UnaryExpr) and (~col("x")).op is Operation.NOT
    assert isinstance(halved(col("x")), UDFExpr) and halved(col("x")).args[0].name == "x"
    assert isinstance(col("x").abs(), PyArrowComputeUDFExpr) and made.columns == {"x"}
    assert isinstance(random(), RandomExpr) and DownloadExpr("u").columns == {"u"}


def test_equal_structure():
    assert (col("x") + 1).structurally_equals(col("x") + 1)
    assert not (col("x") + 1).structurally_equals(col("x") + 2)
    assert not (col("x") + 1).structurally_equals(col("x") - 1)
    assert not col("x").alias("v").structurally_equals(col("x").alias("w"))
    assert random(seed=1).structurally_equals(random(seed=1)) and not random().structurally_equals(random())


def test_what_may_be_computed_elsewhere_or_twice():
    assert (col("x") + 1).is_idempotent() and not (random() + 1).is_idempotent()
    assert not uuid().is_idempotent() and not (col("x") + 1).needs_rows
    assert halved(col("x")).needs_rows and not col("x").abs().needs_rows


def test_a_class_is_built_once_in_each_process():
    @pyarrow_udf(return_dtype=pa.int64())
    class Plus:
        def __init__(self, more):
            self.more = more

        def __call__(self, values):
            return pa.compute.add(values, self.more)

    made = Plus(5)(col("id"))
    assert made.callable_class_spec[1] == (5,)
    assert [r["v"] for r in ray.data.range(3).with_column("v", made).iter_rows()] == [5, 6, 7]


def test_star_and_renames():
    names = [e.name for e in expand_star_exprs([star(), col("x")._rename("z"), lit(1).alias("n")], SCHEMA)]
    assert names == ["z", "y", "p", "n"] and is_rename_expr(col("x")._rename("z"))
    fields = exprlist_to_fields([star(), lit(1).alias("x")], SCHEMA)
    assert [f.name for f in fields] == ["x", "y", "p"]


def test_unnest():
    ds = ray.data.from_arrow(pa.table({"p": [{"a": 1, "b": "x"}, {"a": 2, "b": None}]}))
    got = ds.with_columns(unnest(col("p"))).take_all()
    assert [(r["a"], r["b"]) for r in got] == [(1, "x"), (2, None)]

    @pyarrow_udf(return_dtype=pa.struct([("low", pa.int64()), ("high", pa.int64())]))
    def both(values):
        return pa.StructArray.from_arrays([values, pa.compute.add(values, 10)], ["low", "high"])

    rows = ray.data.range(2).with_columns([star(), unnest(both(col("id")))]).take_all()
    assert rows == [{"id": 0, "low": 0, "high": 10}, {"id": 1, "low": 1, "high": 11}]
    with pytest.raises(ValueError, match="struct"):
        ray.data.range(2).with_columns(unnest(col("id")))
    with pytest.raises(TypeError, match="one name"):
        unnest(col("p")).alias("q")
    with pytest.raises(TypeError, match="several"):
        unnest(unnest(col("p")))
