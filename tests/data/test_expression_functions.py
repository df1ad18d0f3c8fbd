"""Methods of expressions by kind of value, and functions that make expressions."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray
from ray.data.expressions import (
    col,
    download,
    lit,
    monotonically_increasing_id,
    pyarrow_udf,
    random,
    udf,
    uuid,
)


def values(table, expr):
    """What an expression makes of a table's rows."""
    return [r["out"] for r in ray.data.from_arrow(pa.table(table)).with_column("out", expr).take_all()]


@pytest.mark.parametrize(
    "expr, want",
    [
        (col("s").str.upper(), ["ÄB C", "", None]),
        (col("s").str.len(), [4, 0, None]),
        (col("s").str.starts_with("ä"), [True, False, None]),
        (col("s").str.contains("b"), [True, False, None]),
        (col("s").str.replace("b", "x"), ["äx c", "", None]),
        (col("s").str.replace_regex("[a-z]", "."), ["ä. .", "", None]),
        (col("s").str.pad(6, "*", "both"), ["*äb c*", "******", None]),
        (col("s").str.lpad(5), [" äb c", "     ", None]),
        (col("s").str.split(" "), [["äb", "c"], [""], None]),
        (col("s").str.slice(1, 3), ["b ", "", None]),
        (col("s").str.strip("äc"), ["b ", "", None]),
        (col("s").str.reverse(), ["c bä", "", None]),
        (col("s").str.repeat(2), ["äb cäb c", "", None]),
        (col("s").str.find("c"), [4, -1, None]),
        (col("s").str.is_alpha(), [False, False, None]),
        (col("s").str.len() + lit(1), [5, 1, None]),
    ],
)
def test_strings(expr, want):
    assert values({"s": ["äb c", "", None]}, expr) == want


def test_times():
    when = pd.Timestamp("2021-03-04 05:06:07")
    table = {"t": pa.array([when])}
    parts = [getattr(col("t").dt, name)() for name in ("year", "month", "day", "hour", "minute", "second")]
    assert [values(table, part)[0] for part in parts] == [2021, 3, 4, 5, 6, 7]
    assert values(table, col("t").dt.strftime("%d.%m")) == ["04.03"]
    assert values(table, col("t").dt.floor("hour")) == [pd.Timestamp("2021-03-04 05:00")]


@pytest.mark.parametrize(
    "expr, want",
    [
        (col("l").list.len(), [3, 1, None]),
        (col("l").list[0], [3, 2, None]),
        (col("l").list.get(-1), [2, 2, None]),
        (col("l").list[0:1], [[3], [2], None]),
        (col("l").list.sort(), [[1, 2, 3], [2], None]),
        (col("l").list.sort("descending"), [[3, 2, 1], [2], None]),
    ],
)
def test_lists(expr, want):
    assert values({"l": [[3, 1, 2], [2], None]}, expr) == want


def test_nested_values():
    assert values({"l": [[[1], [2, 3]], None]}, col("l").list.flatten()) == [[1, 2, 3], None]
    assert values({"s": [{"a": 1, "b": 2}]}, col("s").struct["b"]) == [2]
    assert values({"s": [{"a": 1, "b": 2}]}, col("s").struct.field_by_index(0)) == [1]
    maps = pa.array([[("x", 1), ("y", 2)]], pa.map_(pa.string(), pa.int64()))
    assert values({"m": maps}, col("m").map.keys()) == [["x", "y"]]
    assert values({"m": maps}, col("m").map.values()) == [[1, 2]]


def test_functions_of_the_user():
    @udf(return_dtype=pa.int64())
    def add(x, y):
        assert isinstance(x, np.ndarray)
        return x + y

    @pyarrow_udf(return_dtype=pa.string())
    def show(x):
        assert isinstance(x, pa.Array)
        return [str(v) for v in x.to_pylist()]

    @udf(return_dtype=pa.float64())
    class Scale:
        def __init__(self, by):
            self.by = by

        def __call__(self, x):
            return x * self.by

    ds = ray.data.range(4).with_columns(
        [add(col("id"), 10).alias("sum"), show(col("id")).alias("text"), Scale(0.5)(col("id")).alias("half")]
    )
    rows = ds.sort("id").take_all()
    assert rows[3] == {"id": 3, "sum": 13, "text": "3", "half": 1.5}
    assert ds.filter(expr=add(col("id"), 1) > 2).count() == 2


def test_columns_see_those_before_them():
    ds = ray.data.range(3).with_columns({"a": col("id") + 1, "b": col("a") * 2})
    assert [r["b"] for r in ds.take_all()] == [2, 4, 6]
    with pytest.raises(ValueError, match="alias"):
        ray.data.range(3).with_columns([col("id") + 1])


def test_rows_get_numbers_that_differ():
    ds = ray.data.range(1000, override_num_blocks=7)
    made = ds.with_columns({"n": monotonically_increasing_id(), "u": uuid(), "r": random(seed=1)}).to_pandas()
    assert made["n"].is_unique and made["u"].is_unique and made["r"].nunique() > 990
    assert made["r"].between(0, 1).all() and abs(made["r"].mean() - 0.5) < 0.05
    again = ds.with_column("r", random(seed=1)).to_pandas()
    assert (again["r"] == made["r"]).all()


def test_downloads(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    uris = [f"file://{tmp_path}/a", f"file://{tmp_path}/missing", None]
    assert values({"u": uris}, download("u")) == [b"abc", None, None]


def test_types_have_one_name():
    from ray.data.datatype import DataType, TypeCategory

    assert DataType.int64().to_arrow_dtype() == DataType.from_dtype(int).to_arrow_dtype() == pa.int64()
    assert DataType.from_numpy("float32").to_arrow_dtype() == pa.float32()
    assert DataType.from_dtype(np.int16).to_numpy_dtype() == np.int16
    assert DataType.list(DataType.string()).is_of(TypeCategory.LIST)
    assert DataType.temporal("timestamp", "ms", "UTC").to_arrow_dtype() == pa.timestamp("ms", "UTC")
    assert DataType.infer_dtype(1.5).is_floating_type() and not DataType.bool().is_numerical_type()
    assert DataType.tensor((2, 3), DataType.uint8()).is_tensor_type()
    with pytest.raises(ValueError, match="temporal_type"):
        DataType.temporal("month")

    @udf(return_dtype=DataType.float32())
    def half(x):
        return x / 2

    assert values({"x": [1, 2]}, half(col("x"))) == [0.5, 1.0]
