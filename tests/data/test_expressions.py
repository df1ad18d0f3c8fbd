import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.data.expressions import col, lit
from tables import same_order, trips

DF = trips(300)


@pytest.fixture(scope="module")
def ds(cluster):
    return ray.data.from_pandas(DF).repartition(2).materialize()


TEXTS = {
    "zone == 3": DF["zone"] == 3,
    "zone != 3 and fare >= 10": (DF["zone"] != 3) & (DF["fare"] >= 10),
    "zone < 3 or flag == 'Y'": (DF["zone"] < 3) | (DF["flag"] == "Y"),
    "not (fare > 10)": ~(DF["fare"] > 10),
    "fare * 2 + 1 > zone": DF["fare"] * 2 + 1 > DF["zone"],
    "fare / 2 < -zone + 8": DF["fare"] / 2 < -DF["zone"] + 8,
    "flag in ['N', 'maybe']": DF["flag"].isin(["N", "maybe"]),
    "zone not in [1, 2, 3]": ~DF["zone"].isin([1, 2, 3]),
    "(zone > 2) & (zone < 5)": (DF["zone"] > 2) & (DF["zone"] < 5),
}


@pytest.mark.parametrize("text", list(TEXTS))
def test_texts(ds, text):
    same_order(ds.filter(expr=text).to_pandas(), DF[TEXTS[text]])


@pytest.mark.parametrize("text", ["zone ==", "import os", "open('x')", "zone.real"])
def test_texts_that_mean_nothing(ds, text):
    with pytest.raises(ValueError):
        ds.filter(expr=text).take_all()


EXPRESSIONS = {
    "sum": (lambda: col("fare") + col("zone"), DF["fare"] + DF["zone"]),
    "difference": (lambda: 100 - col("fare"), 100 - DF["fare"]),
    "quotient": (lambda: col("zone") / 4, DF["zone"] / 4),
    "floor quotient": (lambda: col("zone") // 4, DF["zone"] // 4),
    "remainder": (lambda: col("zone") % 4, DF["zone"] % 4),
    "power": (lambda: col("zone") ** 2, DF["zone"] ** 2),
    "null": (lambda: col("tip").is_null(), DF["tip"].isna()),
    "not null": (lambda: col("tip").is_not_null(), DF["tip"].notna()),
    "member": (lambda: col("zone").is_in([1, 2]), DF["zone"].isin([1, 2])),
    "no member": (lambda: col("zone").not_in([1, 2]), ~DF["zone"].isin([1, 2])),
    "both": (lambda: (col("zone") > 3) & (col("fare") < 9), (DF["zone"] > 3) & (DF["fare"] < 9)),
    "either": (lambda: (col("zone") > 3) | (col("fare") < 9), (DF["zone"] > 3) | (DF["fare"] < 9)),
    "neither": (lambda: ~(col("zone") > 3), ~(DF["zone"] > 3)),
    "floor": (lambda: col("fare").floor(), np.floor(DF["fare"])),
    "log": (lambda: (col("fare") + 1).ln(), np.log(DF["fare"] + 1)),
    "constant": (lambda: lit(7), np.full(len(DF), 7)),
}


@pytest.mark.parametrize("name", list(EXPRESSIONS))
def test_expressions(ds, name):
    make, want = EXPRESSIONS[name]
    got = ds.with_column("v", make()).to_pandas()["v"]
    np.testing.assert_allclose(got.to_numpy(float), np.asarray(want, dtype=float))


def test_an_expression_has_no_truth_of_its_own():
    with pytest.raises(TypeError, match="&"):
        bool(col("x") > 1) and None


def test_a_filter_takes_an_expression(ds):
    assert ds.filter(expr=col("zone") == 3).count() == (DF["zone"] == 3).sum()


DIVISIONS = {  # as Ray 2.60 answers: over Arrow's blocks, over DataFrames
    "quotient": (lambda: col("a") / col("b"), [3, -3, -2, 0], [3.5, -3.5, -8 / 3, 0.0]),
    "by a number": (lambda: col("a") / 2, [3, -3, 4, 0], [3.5, -3.5, 4.0, 0.0]),
    "by a float": (lambda: col("a") / 2.0, [3.5, -3.5, 4.0, 0.0], [3.5, -3.5, 4.0, 0.0]),
    "floor": (lambda: col("a") // col("b"), [3.0, -3.0, -2.0, 0.0], [3, -4, -3, 0]),
    "remainder": (lambda: col("a") % 3, [1.0, -1.0, 2.0, 0.0], [1, 2, 2, 0]),
    "within": (lambda: (1 + col("a") / 2) * 2, [8, -4, 10, 2], [9.0, -5.0, 10.0, 2.0]),
}
ROWS = {"a": [7, -7, 8, 0], "b": [2, 2, -3, 5]}


@pytest.mark.parametrize("name", list(DIVISIONS))
def test_division(cluster, name):
    make, by_arrow, by_pandas = DIVISIONS[name]

    def values(ds):
        found = [row["q"] for row in ds.with_column("q", make()).take_all()]
        return found, {type(value) for value in found}

    frames = ray.data.from_pandas(pd.DataFrame(ROWS))
    by_pandas = by_pandas, {type(value) for value in by_pandas}
    by_arrow = by_arrow, {type(value) for value in by_arrow}
    assert (
        values(frames)
        == values(frames.repartition(2))
        == values(frames.select_columns(["b", "a"]))
        == by_pandas
    )
    assert values(frames.rename_columns({"a": "c"}).rename_columns({"c": "a"}).materialize()) == by_pandas
    assert values(frames.with_column("c", col("a")).filter(expr="a > -100").limit(9)) == by_pandas
    table = ray.data.from_arrow(pa.table(ROWS))
    assert (
        values(table)
        == values(frames.map_batches(lambda b: b))
        == values(frames.map(lambda r: r))
        == by_arrow
    )


def test_division_by_zero(cluster):
    with pytest.raises(pa.ArrowInvalid, match="divide by zero"):
        ray.data.from_arrow(pa.table(ROWS)).with_column("q", col("a") / 0).take_all()
    frames = ray.data.from_pandas(pd.DataFrame(ROWS)).with_column("q", col("a") / 0)
    assert [row["q"] for row in frames.take_all()] == [np.inf, -np.inf, np.inf, None]
    floats = ray.data.from_arrow(pa.table({"a": [1.0, -1.0]})).with_column("q", col("a") / 0)
    assert [row["q"] for row in floats.take_all()] == [np.inf, -np.inf]


def test_division_chooses_rows_of_frames(cluster):
    frames, table = ray.data.from_pandas(pd.DataFrame(ROWS)), ray.data.from_arrow(pa.table(ROWS))
    assert [row["a"] for row in frames.filter(expr=col("a") / 2 > 3).take_all()] == [7, 8]
    assert [row["a"] for row in table.filter(expr=col("a") / 2 > 3).take_all()] == [8]


def test_texts_are_added(cluster, tmp_path):
    table = pa.table(
        {"s": ["a", None, "c"], "d": pa.array(["x", "y", "x"]).dictionary_encode(), "n": [1, 2, 3]}
    )
    pq.write_table(table, tmp_path / "t.parquet")
    for ds in (ray.data.from_arrow(table), ray.data.read_parquet(str(tmp_path))):
        both = ds.with_column("q", "<" + col("s") + col("d") + ">").take_all()
        assert [row["q"] for row in both] == ["<ax>", None, "<cx>"]
        assert ds.filter(expr=col("s") + "!" == "c!").count() == 1
        assert ds.filter(expr=col("s") + col("d") == "ax").count() == 1
        assert ds.filter(expr=col("n") + col("n") == 4).count() == 1
        with pytest.raises(TypeError, match="cannot add int64 to string: cast"):
            ds.with_column("q", col("n") + "!").take_all()
