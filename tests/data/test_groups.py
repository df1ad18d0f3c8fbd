import numpy as np
import pandas as pd
import pytest
import ray
from ray.data.aggregate import (
    AggregateFnV2,
    AsList,
    Count,
    CountDistinct,
    Max,
    Mean,
    Min,
    Quantile,
    Std,
    Sum,
    Unique,
)
from tables import same_order, trips

DF = trips()
GROUPS = DF.groupby("zone")


@pytest.fixture(scope="module")
def ds(cluster):
    return ray.data.from_pandas(DF).repartition(5).materialize()


def by_key(dataset, key="zone"):
    return dataset.to_pandas().sort_values(key).reset_index(drop=True)


@pytest.mark.parametrize("kind", ["sum", "min", "max", "mean", "std"])
def test_grouped(ds, kind):
    got = by_key(getattr(ds.groupby("zone"), kind)(["fare", "tip"]))
    want = getattr(GROUPS[["fare", "tip"]], kind)().reset_index()
    same_order(got, want.rename(columns={"fare": f"{kind}(fare)", "tip": f"{kind}(tip)"}))


def test_grouped_count(ds):
    same_order(by_key(ds.groupby("zone").count()), GROUPS.size().reset_index(name="count()"))


def test_groups_of_strings_and_of_several_keys(ds):
    got = by_key(ds.groupby(["zone", "flag"]).sum("fare"), ["zone", "flag"])
    want = DF.groupby(["zone", "flag"])["fare"].sum().reset_index(name="sum(fare)")
    same_order(got, want)


def test_grouped_aggregate(ds):
    got = by_key(
        ds.groupby("zone").aggregate(Count(), Mean("fare"), Quantile("fare", q=0.25), CountDistinct("flag"))
    )
    want = pd.DataFrame(
        {
            "zone": sorted(DF["zone"].unique()),
            "count()": GROUPS.size().to_numpy(),
            "mean(fare)": GROUPS["fare"].mean().to_numpy(),
            "quantile(fare)": GROUPS["fare"].quantile(0.25).to_numpy(),
            "count_distinct(flag)": GROUPS["flag"].nunique().to_numpy(),
        }
    )
    same_order(got.set_axis(want.columns, axis=1), want)


def test_names_may_be_chosen(ds):
    got = by_key(
        ds.groupby("zone").aggregate(
            Sum("fare", alias_name="total"), Std("fare", ddof=0, alias_name="spread")
        )
    )
    assert list(got.columns) == ["zone", "total", "spread"]
    np.testing.assert_allclose(got["spread"], GROUPS["fare"].std(ddof=0))


class Range(AggregateFnV2):
    """Greatest less least value."""

    def __init__(self, on):
        super().__init__(f"range({on})", lambda: (np.inf, -np.inf), on=on, ignore_nulls=True)

    def aggregate_block(self, block):
        values = np.asarray(block[self.get_target_column()])
        return values.min(), values.max()

    def combine(self, current_accumulator, new):
        return min(current_accumulator[0], new[0]), max(current_accumulator[1], new[1])

    def finalize(self, accumulator):
        return float(accumulator[1] - accumulator[0])


def test_an_aggregation_of_ones_own(ds):
    got = by_key(ds.groupby("zone").aggregate(Range("fare")))
    np.testing.assert_allclose(got["range(fare)"], (GROUPS["fare"].max() - GROUPS["fare"].min()).to_numpy())
    assert ds.aggregate(Range("row")) == {"range(row)": len(DF) - 1}


@pytest.mark.parametrize("batch_format", ["pandas", "numpy"])
def test_map_groups(ds, batch_format):
    def centred(group):
        return {"row": group["row"], "c": group["fare"] - group["fare"].mean()}

    got = by_key(ds.groupby("zone").map_groups(centred, batch_format=batch_format), "row")
    np.testing.assert_allclose(got["c"], (DF["fare"] - GROUPS["fare"].transform("mean")).to_numpy())


def test_map_groups_with_a_class(ds):
    class Size:
        def __init__(self, factor):
            self.factor = factor

        def __call__(self, group):
            return {"zone": group["zone"][:1], "n": np.array([len(group["row"]) * self.factor])}

    got = by_key(ds.groupby("zone").map_groups(Size, fn_constructor_args=(10,), concurrency=2))
    assert got["n"].tolist() == (GROUPS.size() * 10).tolist()


def test_nulls_are_a_group(cluster):
    ds = ray.data.from_items([{"k": k, "v": 1} for k in ["a", None, "b", None, "a"]]).repartition(3)
    got = {r["k"]: r["sum(v)"] for r in ds.groupby("k").sum("v").take_all()}
    assert got == {"a": 2, "b": 1, None: 2}


def test_of_all_rows(ds):
    assert ds.sum("row") == DF["row"].sum()
    assert (ds.min("row"), ds.max("row")) == (0, len(DF) - 1)
    assert ds.mean("tip") == pytest.approx(DF["tip"].mean())
    assert ds.std("fare") == pytest.approx(DF["fare"].std())
    assert sorted(ds.unique("zone")) == sorted(DF["zone"].unique())


def test_of_several_columns(ds):
    got = ds.sum(["row", "fare"])
    assert got["sum(row)"] == DF["row"].sum()
    assert got["sum(fare)"] == pytest.approx(DF["fare"].sum())
    assert ds.aggregate(Min("fare"), Max("fare")) == {
        "min(fare)": DF["fare"].min(),
        "max(fare)": DF["fare"].max(),
    }


def test_nulls_spoil_a_sum_when_they_are_not_ignored(ds):
    assert ds.sum("tip", ignore_nulls=False) is None
    assert ds.sum("tip") == pytest.approx(DF["tip"].sum())


def test_std_does_not_cancel(cluster):
    values = 1e9 + np.arange(1000) % 7
    ds = ray.data.from_pandas(pd.DataFrame({"x": values})).repartition(9)
    assert ds.std("x") == pytest.approx(np.std(values, ddof=1), rel=1e-6)


def test_of_no_rows(ds):
    nothing = ds.filter(expr="fare < 0")
    assert nothing.count() == 0
    assert nothing.sum("fare") is None
    assert nothing.groupby("zone").count().take_all() == []


def test_lists(ds):
    got = (
        ds.groupby("zone")
        .aggregate(AsList("row", alias_name="rows"), Unique("flag", alias_name="flags"))
        .take_all()
    )
    for r in got:
        group = DF[DF["zone"] == r["zone"]]
        assert sorted(r["rows"]) == group["row"].tolist()
        assert sorted(r["flags"]) == sorted(group["flag"].unique())


def test_a_column_that_is_not_there(ds):
    with pytest.raises(Exception, match="nowhere"):
        ds.groupby("zone").sum("nowhere").take_all()
    with pytest.raises(Exception, match="nowhere"):
        ds.groupby("nowhere").count().take_all()


def test_groupings_in_several_partitions(cluster):
    rows = 40_000
    keys = np.arange(rows) % 9973
    ds = ray.data.from_pandas(pd.DataFrame({"k": keys, "v": np.arange(rows)})).repartition(4)
    got = ds.groupby("k", num_partitions=5).aggregate(Sum("v"), Std("v")).to_pandas().sort_values("k")
    groups = pd.DataFrame({"k": keys, "v": np.arange(rows)}).groupby("k")["v"]
    assert got["sum(v)"].tolist() == groups.sum().tolist()
    np.testing.assert_allclose(got["std(v)"], groups.std())


def test_texts_that_are_read_as_dictionaries_group_alike(tmp_path):
    """Row groups with dictionaries of their own, nulls, values that a filter leaves none of."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from ray.data.expressions import col

    rng = np.random.default_rng(3)
    table = pa.table(
        {
            "s": pa.array(rng.choice(["a", "b", "c", None], 900)),
            "t": pa.array([f"t{i // 300}" for i in range(900)]),
            "x": rng.random(900),
            "odd": [i % 2 == 1 for i in range(900)],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=100)
    frame = table.to_pandas()
    ds = ray.data.read_parquet(str(tmp_path / "x.parquet"))
    for keys in (["s"], ["t"], ["s", "t"]):
        for kept in (None, col("t") != "t1", col("odd")):
            chosen = (
                frame if kept is None else frame[frame["odd"] if "odd" in repr(kept) else frame["t"] != "t1"]
            )
            some = ds if kept is None else ds.filter(expr=kept)
            got = some.with_column("y", col("x") * 2).groupby(keys).sum("y").to_pandas()
            want = chosen.assign(y=chosen["x"] * 2).groupby(keys, dropna=False)["y"].sum().reset_index()
            found = {tuple(map(_text, row[:-1])): row[-1] for row in got.itertuples(index=False)}
            assert set(found) == {tuple(map(_text, row[:-1])) for row in want.itertuples(index=False)}
            for row in want.itertuples(index=False):
                assert found[tuple(map(_text, row[:-1]))] == pytest.approx(row[-1])
    assert ds.groupby("s").count().schema().base_schema.field("s").type == pa.string()


def _text(value):
    return "None" if value is None or value != value else str(value)
