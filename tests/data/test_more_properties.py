"""Operators against plain Python over values that hypothesis makes: nested, zoned, null and empty ones, any blocks."""

import collections
import datetime

import numpy as np
import pyarrow as pa
import pytest
import ray
from ray.data.expressions import col

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

SETTINGS = hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
TIMES = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1))
KINDS = {
    "zoned": (
        pa.timestamp("us", "Asia/Kathmandu"),
        TIMES.map(lambda t: t.replace(tzinfo=datetime.timezone.utc)),
    ),
    "list": (pa.list_(pa.int32()), st.lists(st.one_of(st.none(), st.integers(-9, 9)), max_size=3)),
    "struct": (
        pa.struct([("a", pa.int64()), ("b", pa.string())]),
        st.fixed_dictionaries({"a": st.one_of(st.none(), st.integers(-9, 9)), "b": st.text(max_size=3)}),
    ),
    "decimal": (pa.decimal128(12, 2), st.decimals(-999, 999, places=2)),
    "bytes": (pa.binary(), st.binary(max_size=4)),
    "bool": (pa.bool_(), st.booleans()),
    "category": (pa.dictionary(pa.int32(), pa.string()), st.sampled_from(["a", "b", "ü"])),
    "duration": (
        pa.duration("ms"),
        st.integers(-(10**9), 10**9).map(lambda n: datetime.timedelta(milliseconds=n)),
    ),
    "date": (pa.date32(), st.dates(datetime.date(1900, 1, 1), datetime.date(2200, 1, 1))),
    "view": (pa.string_view(), st.text(max_size=3)),
    "map": (
        pa.map_(pa.string(), pa.int64()),
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=2),
    ),
}


def column_of(kind, data):
    arrow, values = KINDS[kind]
    return data.draw(st.lists(st.one_of(st.none(), values), max_size=12)), arrow


def dataset(values, arrow, blocks):
    table = pa.table({"i": np.arange(len(values)), "x": pa.array(values, arrow)})
    edges = [len(values) * b // blocks for b in range(blocks + 1)]
    return ray.data.from_arrow([table.slice(a, b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)])


def freeze(value):
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


@pytest.mark.parametrize("kind", list(KINDS))
@SETTINGS
@hypothesis.given(data=st.data(), blocks=st.integers(1, 3))
def test_values_of_any_type_pass_through_every_exchange(kind, data, blocks):
    values, arrow = column_of(kind, data)
    ds = dataset(values, arrow, blocks)
    want = [freeze(v) for v in pa.array(values, arrow).to_pylist()]
    ways = {
        "shuffle": ds.random_shuffle(seed=1).sort("i"),
        "sort": ds.sort("i", descending=True).sort("i"),
        "repartition": ds.repartition(2),
        "by key": ds.repartition(2, keys=["i"]).sort("i"),
        "batches": ds.map_batches(lambda b: b, batch_format="pyarrow", batch_size=2),
        "filter": ds.filter(expr=col("i") >= 0),
    }
    for name, way in ways.items():
        assert [freeze(r["x"]) for r in way.iter_rows()] == want, name


@pytest.mark.parametrize("kind", ["zoned", "decimal", "bytes", "bool", "category", "date"])
@SETTINGS
@hypothesis.given(data=st.data(), blocks=st.integers(1, 3))
def test_groups_and_unique_values_of_many_types(kind, data, blocks):
    values, arrow = column_of(kind, data)
    ds = dataset(values, arrow, blocks)
    want = collections.Counter(map(freeze, pa.array(values, arrow).to_pylist()))
    got = {freeze(r["x"]): r["count()"] for r in ds.groupby("x").count().iter_rows()}
    assert got == dict(want)
    if values:
        assert sorted(map(freeze, ds.unique("x"))) == sorted(want)


@SETTINGS
@hypothesis.given(
    st.lists(st.integers(-50, 50), max_size=40),
    st.integers(1, 4),
    st.lists(st.integers(0, 45), min_size=1, max_size=3),
)
def test_cutting_and_putting_together(values, blocks, cuts):
    table = pa.table({"x": pa.array(values, pa.int64())})
    ds = ray.data.from_arrow(table).repartition(blocks)
    parts = ds.split_at_indices(sorted(cuts))
    edges = [0, *sorted(cuts), len(values)]
    pieces = [[r["x"] for r in part.iter_rows()] for part in parts]
    assert pieces == [values[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    whole = parts[0].union(*parts[1:])
    assert [r["x"] for r in whole.iter_rows()] == values
    assert [r["x"] for r in whole.limit(7).iter_rows()] == values[:7]
    other = ds.map_batches(lambda b: {"y": b["x"] * 2})
    if values:
        assert [(r["x"], r["y"]) for r in ds.zip(other).iter_rows()] == [(v, 2 * v) for v in values]


@SETTINGS
@hypothesis.given(
    st.lists(st.tuples(st.integers(-9, 9), st.one_of(st.none(), st.integers(-9, 9))), max_size=30),
    st.integers(1, 3),
    st.integers(-5, 5),
)
def test_expressions_as_sql_has_them(rows, blocks, bound):
    table = pa.table(
        {"a": pa.array([a for a, _ in rows], pa.int64()), "b": pa.array([b for _, b in rows], pa.int64())}
    )
    ds = ray.data.from_arrow(table).repartition(blocks)
    kept = [(r["a"], r["b"]) for r in ds.filter(expr=(col("a") > bound) | (col("b") < bound)).iter_rows()]
    assert kept == [(a, b) for a, b in rows if a > bound or (b is not None and b < bound)]
    made = ds.with_column("c", col("a") * 2 + col("b")).with_column("d", col("b").is_null())
    assert [(r["c"], r["d"]) for r in made.iter_rows()] == [
        (None if b is None else a * 2 + b, b is None) for a, b in rows
    ]


@SETTINGS
@hypothesis.given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True, width=32), max_size=40), st.integers(1, 4)
)
def test_aggregates_of_floats(values, blocks):
    finite = [v for v in values if np.isfinite(v) and abs(v) < 1e15]
    ds = ray.data.from_arrow(pa.table({"x": pa.array(finite, pa.float64())})).repartition(blocks)
    if not finite:
        assert ds.sum("x") is None and ds.count() == 0
        return
    assert ds.sum("x") == pytest.approx(np.sum(finite), rel=1e-9, abs=1e-3)
    assert ds.min("x") == min(finite) and ds.max("x") == max(finite)
    assert ds.mean("x") == pytest.approx(np.mean(finite), rel=1e-9, abs=1e-3)
    if len(finite) > 1:
        assert ds.std("x") == pytest.approx(np.std(finite, ddof=1), rel=1e-6, abs=1e-3)


EMPTY = {
    "no rows": lambda: ray.data.from_arrow(pa.table({"x": pa.array([], pa.int64())})),
    "no rows left": lambda: ray.data.range(20).filter(expr="id < 0").rename_columns({"id": "x"}),
    "some blocks empty": lambda: (
        ray.data.range(20, override_num_blocks=5).filter(expr="id >= 18").rename_columns({"id": "x"})
    ),
}


@pytest.mark.parametrize("name", list(EMPTY))
def test_every_operator_over_nothing(name, tmp_path):
    ds = EMPTY[name]()
    rows = ds.count()
    assert ds.sort("x").count() == ds.random_shuffle().count() == ds.repartition(3).count() == rows
    assert ds.groupby("x").count().count() == len(ds.unique("x")) == rows
    assert ds.map(lambda r: r).count() == ds.flat_map(lambda r: [r]).count() == rows
    assert ds.map_batches(lambda b: b).limit(1).count() == min(1, rows)
    assert ds.join(ds, "inner", 2, on=("x",)).count() == rows
    assert sum(part.count() for part in ds.split(2)) == rows
    assert ds.union(ds).count() == 2 * rows and len(ds.to_pandas()) == rows
    ds.write_parquet(str(tmp_path / "out"))
    assert list(ds.iter_batches(drop_last=True, batch_size=5)) == []


def test_a_name_that_is_not_there_is_told_the_near_one():
    ds = ray.data.from_items([{"fare": 1, "zone": 2}])
    attempts = [
        lambda: ds.sort("fair").take_all(),
        lambda: ds.select_columns("fair").take_all(),
        lambda: ds.drop_columns("fair").take_all(),
        lambda: ds.groupby("fair").count().take_all(),
        lambda: ds.sum("fair"),
        lambda: ds.filter(expr="fair > 1").take_all(),
        lambda: ds.with_column("x", col("fair") + 1).take_all(),
        lambda: ds.rename_columns({"fair": "x"}).take_all(),
        lambda: ds.map_batches(lambda b: b).groupby("fair").map_groups(lambda g: g).take_all(),
    ]
    for attempt in attempts:
        with pytest.raises(Exception, match="did you mean 'fare'"):
            attempt()
