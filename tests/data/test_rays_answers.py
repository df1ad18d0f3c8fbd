"""What Ray 2.60 answers where one could answer otherwise; found with its own tests, run outside of this repository."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray
from ray.data.aggregate import AggregateFn
from ray.data.datatype import DataType
from ray.data.expressions import col
from ray.data.preprocessors import CustomKBinsDiscretizer, MinMaxScaler, SimpleImputer, StandardScaler

ROWS = [{"g": i % 2, "h": i % 3, "x": float(i)} for i in range(6)]


def test_a_group_is_a_frame_by_default():
    groups = ray.data.from_items(ROWS).groupby("g")

    def kinds(**how):
        made = groups.map_groups(lambda g: {"kind": [type(g).__name__]}, **how)
        return {row["kind"] for row in made.take_all()}

    assert kinds() == kinds(batch_format="default") == kinds(zero_copy_batch=False) == {"DataFrame"}
    assert kinds(batch_format="numpy") == {"dict"} and kinds(batch_format="pyarrow") == {"Table"}
    doubled = groups.map_groups(lambda frame: frame.assign(x=frame["x"] * 2))
    assert sorted(row["x"] for row in doubled.take_all()) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]


def test_groups_say_what_they_are_of():
    ds = ray.data.from_items(ROWS)
    assert repr(ds.groupby("g")) == f"GroupedData(dataset={ds!r}, key='g')"
    with pytest.raises(ValueError, match="names of columns"):
        ds.groupby(lambda row: row["g"])
    assert ds.filter(lambda row: False).groupby("nothing").count().take_all() == []


@pytest.mark.parametrize(("keys", "want"), [
    ("g", [0, 1]), (["g", "h"], [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]), (None, [None]),
])  # fmt: skip
def test_an_aggregation_begins_with_its_group(keys, want):
    begun = AggregateFn(
        init=lambda key: [key], accumulate_row=lambda a, row: a, merge=lambda a, b: a, name="k"
    )
    found = ray.data.from_items(ROWS, override_num_blocks=3).groupby(keys).aggregate(begun).take_all()
    as_keys = lambda k: tuple(k) if isinstance(k, (list, tuple, np.ndarray)) else k  # noqa: E731
    assert sorted((as_keys(row["k"][0]) for row in found), key=repr) == want


def test_nan_among_numbers_is_a_number():
    nan = float("nan")
    rows = ray.data.from_items([{"a": 1.0}, {"a": nan}, {"a": None}, {"a": nan}])
    assert repr([row["a"] for row in rows.take_all()]) == "[1.0, nan, None, nan]"
    assert repr([row["a"] for row in rows.map(lambda row: row).take_all()]) == "[1.0, nan, None, nan]"
    counts = {repr(row["a"]): row["count()"] for row in rows.groupby("a").count().take_all()}
    assert counts == {"1.0": 1, "nan": 2, "None": 1}
    given = ray.data.range(1).map_batches(lambda b: {"v": [1.0, nan]})
    assert repr([row["v"] for row in given.take_all()]) == "[1.0, nan]"
    texts = ray.data.from_pandas(pd.DataFrame({"s": ["a", None]}, dtype=object))
    assert [row["s"] for row in texts.take_all()] == ["a", None]


def test_a_boundary_begins_the_range_above_it_in_either_order():
    for bounds in ([3, 7], [2.5, 6.5]):
        up = ray.data.range(10).sort("id", boundaries=bounds)
        down = ray.data.range(10).sort("id", descending=True, boundaries=bounds)
        blocks = [[batch["id"].tolist() for batch in ds.iter_batches(batch_size=None)] for ds in (up, down)]
        assert blocks[0] == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9]]
        assert blocks[1] == [[9, 8, 7], [6, 5, 4, 3], [2, 1, 0]]


def test_small_strata_stay_in_training():
    ds = ray.data.from_items([{"id": i, "label": label} for i, label in enumerate("AAAAAABBC")])
    train, test = ds.train_test_split(0.3, stratify="label")
    assert [row["id"] for row in test.take_all()] == [5] and train.count() == 8
    assert ds.train_test_split(3, stratify="label")[1].count() == 2
    with pytest.raises(ValueError, match="shuffle=True"):
        ds.train_test_split(0.3, shuffle=True, stratify="label")
    with pytest.raises(ValueError, match="seed is not supported for hash split"):
        ds.streaming_train_test_split(0.3, split_type="hash", hash_column="id", seed=1)


def test_maps_that_are_lists_of_structs():
    kind = pa.list_(pa.struct([("k", pa.string()), ("v", pa.int64())]))
    ds = ray.data.from_arrow(pa.table({"m": pa.array([[{"k": "a", "v": 1}], None, []], kind)}))
    made = ds.with_column("k", col("m").map.keys()).with_column("v", col("m").map.values()).take_all()
    assert [(row["k"], row["v"]) for row in made] == [(["a"], [1]), (None, None), ([], [])]


@pytest.mark.parametrize("kind", ["int64", int, DataType(int)])
def test_what_is_no_type_is_refused_at_once(kind):
    with pytest.raises(TypeError, match=r"type|requires values"):
        col("x").cast(kind)
    assert ray.data.range(1).with_column("x", col("id").cast(DataType.string())).take_all() == [
        {"id": 0, "x": "0"}
    ]


def test_preprocessors_at_the_edges():
    near = ray.data.from_pandas(
        pd.DataFrame({"a": [1.0, 1.0 + 1e-10, 1.0], "b": [1, 2, 9], "n": [np.nan] * 3})
    )
    for scaler in (StandardScaler, MinMaxScaler):
        made = scaler(["a", "n"]).fit_transform(near).to_pandas()
        assert np.allclose(made["a"], 0.0, atol=1e-6) and made["n"].isna().all()
    with pytest.raises(ValueError, match="'n'"):
        SimpleImputer(["n"]).fit(near).transform_batch(pd.DataFrame({"n": [np.nan]}))
    cut = CustomKBinsDiscretizer(["b"], bins=[0, 1, 5, 10], dtypes={"b": int}).transform(near)
    assert [row["b"] for row in cut.take_all()] == [0, 1, 2]
    often = ray.data.from_items([{"x": value} for value in (float("nan"), float("nan"), 2.0)])
    assert [row["x"] for row in SimpleImputer(["x"], "most_frequent").fit_transform(often).take_all()] == [
        2.0
    ] * 3
