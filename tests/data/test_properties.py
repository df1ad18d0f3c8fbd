"""Operators against pandas, on frames that hypothesis makes: nulls, NaN, empty frames, any number of blocks."""

import numpy as np
import pandas as pd
import pytest
import ray

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

KEYS = st.one_of(st.none(), st.integers(-3, 3))
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ü"]))
NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.integers(-5, 5).map(float))
ROWS = st.lists(st.tuples(KEYS, TEXTS, NUMBERS), max_size=30)
SETTINGS = hypothesis.settings(max_examples=20, deadline=None, derandomize=True)


def frame(rows):
    made = pd.DataFrame(rows, columns=["k", "t", "v"])
    return made.assign(k=made["k"].astype("Int64"), t=made["t"].astype(object), v=made["v"].astype(float))


def dataset(rows, blocks):
    import pyarrow as pa

    made = frame(rows)
    kinds = pa.schema([("k", pa.int64()), ("t", pa.string()), ("v", pa.float64())])
    return ray.data.from_arrow(pa.Table.from_pandas(made, schema=kinds)).repartition(blocks)


def plain(row):
    return tuple(None if v is None or v != v else v for v in row)


def tuples(ds, names):
    return [plain(row[n] for n in names) for row in ds.take_all()]


@SETTINGS
@hypothesis.given(ROWS, st.integers(1, 4), st.booleans(), st.sampled_from(["k", "t", "v"]))
def test_sorting(rows, blocks, descending, key):
    got = [row[0] for row in tuples(dataset(rows, blocks).sort(key, descending), [key])]
    full = [v for v in (plain([r["ktv".index(key)]])[0] for r in rows) if v is not None]
    assert [v for v in got if v is not None] == sorted(full, reverse=descending)
    assert got[len(full) :] == [None] * (len(rows) - len(full))


@SETTINGS
@hypothesis.given(ROWS, st.integers(1, 4))
def test_grouping(rows, blocks):
    got = dataset(rows, blocks).groupby(["k", "t"]).aggregate(
        ray.data.aggregate.Count(), ray.data.aggregate.Sum("v"), ray.data.aggregate.Max("v")
    )  # fmt: skip
    found = {(a, b): rest for a, b, *rest in tuples(got, ["k", "t", "count()", "sum(v)", "max(v)"])}
    want = frame(rows).groupby(["k", "t"], dropna=False)["v"]
    assert len(found) == len(want.size())
    for (k, t), group in want:
        count, total, most = found[plain((None if pd.isna(k) else int(k), None if pd.isna(t) else t))]
        assert count == len(group)
        values = group.dropna()
        assert (total is None) == (most is None) == (not len(values))
        if len(values):
            assert most == values.max() and total == pytest.approx(values.sum(), abs=1e-6)


@SETTINGS
@hypothesis.given(ROWS, ROWS, st.sampled_from(["inner", "left_outer", "full_outer", "left_anti"]))
def test_joining(left, right, how):
    left, right = left or [(1, "a", 1.0)], right or [(1, "a", 1.0)]
    a = dataset(left, 2).select_columns(["k", "v"])
    b = dataset(right, 2).select_columns(["k", "t"])
    got = sorted(
        map(repr, tuples(a.join(b, how, 2, on=("k",)), ["k", "v"] if how == "left_anti" else ["k", "v", "t"]))
    )
    want = []
    for k, _, v in left:
        hits = [t for j, t, _ in right if j == k and k is not None]
        if how == "left_anti":
            want += [plain((k, v))] * (not hits)
        else:
            want += [plain((k, v, t)) for t in hits] or ([plain((k, v, None))] if how != "inner" else [])
    if how == "full_outer":
        known = {k for k, _, _ in left if k is not None}
        want += [plain((k, None, t)) for k, t, _ in right if k not in known]
    assert got == sorted(map(repr, want))


@SETTINGS
@hypothesis.given(ROWS, st.integers(1, 5), st.integers(0, 40))
def test_rows_are_kept(rows, blocks, limit):
    ds = dataset(rows, blocks)
    want = [plain(r) for r in rows]
    names = ["k", "t", "v"]
    if rows:
        assert tuples(ds, names) == want
        assert tuples(ds.limit(limit), names) == want[:limit]
        assert tuples(ds.union(ds), names) == want + want
        assert sorted(map(repr, tuples(ds.random_shuffle(seed=1), names))) == sorted(map(repr, want))
        assert sum(part.count() for part in ds.split(3)) == len(rows)
    assert ds.count() == len(rows)
    assert sorted(map(repr, ds.unique("t"))) == sorted(map(repr, {r[1] for r in rows}))
    assert len(ds.filter(expr="v > 0").take_all()) == sum(r[2] is not None and r[2] > 0 for r in rows)
    assert np.isclose(ds.sum("v") or 0.0, sum(r[2] for r in rows if r[2] is not None), atol=1e-6)
