"""The operators that `test_properties.py` leaves out, against pandas and plain Python."""

import collections
import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray
from ray.data import aggregate as agg
from ray.data.expressions import col

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

SETTINGS = hypothesis.settings(max_examples=10, deadline=None, derandomize=True)
KEYS = st.one_of(st.none(), st.integers(-2, 2))
TEXTS = st.one_of(st.none(), st.sampled_from(["", "a", "b", "ü"]))
NUMBERS = st.one_of(st.none(), st.integers(-100, 100).map(float))
ROWS = st.lists(st.tuples(KEYS, TEXTS, NUMBERS), min_size=1, max_size=30)
BLOCKS = st.integers(1, 4)
SCHEMA = pa.schema([("k", pa.int64()), ("t", pa.string()), ("v", pa.float64()), ("i", pa.int64())])
JOINS = "inner left_outer right_outer full_outer left_semi right_semi left_anti right_anti".split()


def dataset(rows, blocks, names="ktvi"):
    """The rows, each with its number, in so many blocks."""
    numbered = [(*row, i) for i, row in enumerate(rows)]
    columns = {name: [row[p] for row in numbered] for p, name in enumerate("ktvi") if name in names}
    table = pa.table(columns, schema=pa.schema([f for f in SCHEMA if f.name in names]))
    edges = [len(rows) * b // blocks for b in range(blocks + 1)]
    return ray.data.from_arrow([table.slice(a, b - a) for a, b in zip(edges[:-1], edges[1:], strict=True)])


def tuples(ds, names):
    return [tuple(None if row[n] != row[n] else row[n] for n in names) for row in ds.iter_rows()]


def counted(rows):
    return collections.Counter(map(repr, rows))


def joined(left, right, how):
    """(key, text, left's number, right's number) of the rows that SQL's join gives; a null equals nothing."""
    pairs = [(a, b) for a in left for b in right if a[:2] == b[:2] and None not in a[:2]]
    hit = ({a[2] for a, _ in pairs}, {b[2] for _, b in pairs})
    if how.endswith(("semi", "anti")):
        side, own = (left, hit[0]) if how.startswith("left") else (right, hit[1])
        return [row for row in side if (row[2] in own) == how.endswith("semi")]
    made = [(*a[:2], a[2], b[2]) for a, b in pairs]
    if how in ("left_outer", "full_outer"):
        made += [(*a[:2], a[2], None) for a in left if a[2] not in hit[0]]
    if how in ("right_outer", "full_outer"):
        made += [(*b[:2], None, b[2]) for b in right if b[2] not in hit[1]]
    return made


@pytest.mark.parametrize("how", JOINS)
@SETTINGS
@hypothesis.given(left=ROWS, right=ROWS, blocks=BLOCKS)
def test_joins_by_two_keys(how, left, right, blocks):
    a, b = dataset(left, blocks, "kti"), dataset(right, 2, "kti").rename_columns({"i": "j"})
    names = ["k", "t"] + (["i"] if how in JOINS[4::2] else ["j"] if how in JOINS[5::2] else ["i", "j"])
    sides = [[(k, t, i) for i, (k, t, _) in enumerate(side)] for side in (left, right)]
    assert counted(tuples(a.join(b, how, 2, on=("k", "t")), names)) == counted(joined(*sides, how))


@SETTINGS
@hypothesis.given(
    ROWS, BLOCKS, st.permutations(["k", "t", "v"]), st.lists(st.booleans(), min_size=3, max_size=3)
)
def test_sorting_by_several_keys(rows, blocks, keys, descending):
    want = [(*row, i) for i, row in enumerate(rows)]
    for key, down in reversed(list(zip(keys, descending, strict=True))):
        place = "ktv".index(key)
        full = sorted((r for r in want if r[place] is not None), key=lambda r: r[place], reverse=down)
        want = full + [r for r in want if r[place] is None]
    got = tuples(dataset(rows, blocks).sort(keys, descending), "ktv")
    assert got == [row[:3] for row in want]


def values_of(group):
    return [v for _, _, v in group if v is not None]


def over_values(function):
    """An aggregate that leaves out nulls: null without values."""
    return lambda group: function(values_of(group)) if values_of(group) else None


def quantile(values):
    return float(np.quantile(values, 0.3))


AGGREGATES = {
    "sum": (lambda: agg.Sum("v"), over_values(sum)),
    "min": (lambda: agg.Min("v"), over_values(min)),
    "max": (lambda: agg.Max("v"), over_values(max)),
    "mean": (lambda: agg.Mean("v"), over_values(lambda vs: sum(vs) / len(vs))),
    "std": (lambda: agg.Std("v", ddof=0), over_values(lambda vs: float(np.std(vs)))),
    "abs_max": (lambda: agg.AbsMax("v"), over_values(lambda vs: max(map(abs, vs)))),
    "quantile": (lambda: agg.Quantile("v", q=0.3), over_values(quantile)),
    "count": (lambda: agg.Count(), len),
    "count of values": (lambda: agg.Count("v", ignore_nulls=True), lambda group: len(values_of(group))),
    "distinct": (lambda: agg.CountDistinct("v"), lambda group: len(set(values_of(group)))),
    "missing": (
        lambda: agg.MissingValuePercentage("v"),
        lambda group: 100 * (len(group) - len(values_of(group))) / len(group),
    ),
    "sum with nulls": (
        lambda: agg.Sum("v", ignore_nulls=False),
        lambda group: sum(values_of(group)) if len(values_of(group)) == len(group) else None,
    ),
}


@pytest.mark.parametrize("name", list(AGGREGATES))
@SETTINGS
@hypothesis.given(rows=ROWS, blocks=BLOCKS)
def test_aggregates_by_group_and_over_all(name, rows, blocks):
    make, want = AGGREGATES[name]
    groups = collections.defaultdict(list)
    for row in rows:
        groups[row[0]].append(row)
    ds = dataset(rows, blocks)
    got = {row["k"]: row[make().name] for row in ds.groupby("k").aggregate(make()).iter_rows()}
    assert set(got) == set(groups)
    for key, group in groups.items():
        assert same(got[key], want(group)), key
    assert same(ds.aggregate(make())[make().name], want(rows))


def same(got, want):
    missing = got is None or (isinstance(got, float) and math.isnan(got))
    return missing if want is None else not missing and got == pytest.approx(want, abs=1e-9)


@SETTINGS
@hypothesis.given(ROWS, BLOCKS)
def test_functions_over_groups(rows, blocks):
    def spread(group):
        full = group["v"].dropna()
        return pd.DataFrame({"t": group["t"].iloc[:1], "n": [len(group)], "w": [full.max() - full.min()]})

    got = dataset(rows, blocks).groupby("t").map_groups(spread, batch_format="pandas")
    found = {t: (n, w) for t, n, w in tuples(got, "tnw")}
    want = collections.defaultdict(list)
    for row in rows:
        want[row[1]].append(row)
    assert set(found) == set(want)
    for key, group in want.items():
        values = values_of(group)
        assert found[key] == (len(group), max(values) - min(values) if values else None)


@SETTINGS
@hypothesis.given(ROWS, BLOCKS, st.permutations(["k", "t", "v", "i"]), st.integers(1, 3))
def test_columns(rows, blocks, order, count):
    ds = dataset(rows, blocks)
    want = ds.to_pandas()
    chosen = order[:count]
    assert ds.select_columns(chosen).to_pandas().equals(want[chosen])
    assert ds.drop_columns(chosen).to_pandas().equals(want.drop(columns=chosen))
    new = {name: f"{name}2" for name in chosen}
    assert ds.rename_columns(new).to_pandas().equals(want.rename(columns=new))
    doubled = want.assign(i=want["i"] * 2, w=want["v"] + want["i"])
    by_function = ds.add_column("w", lambda df: df["v"] + df["i"]).with_column("i", col("i") * 2)
    assert by_function.to_pandas().equals(doubled)
    assert ds.with_column("w", col("v") + col("i")).with_column("i", col("i") * 2).to_pandas().equals(doubled)


@SETTINGS
@hypothesis.given(ROWS, BLOCKS)
def test_functions_over_rows(rows, blocks):
    ds = dataset(rows, blocks)
    assert tuples(ds.map(lambda r: {"x": r["i"] + 1}), "x") == [(i + 1,) for i in range(len(rows))]
    repeated = ds.flat_map(lambda r: [{"i": r["i"], "n": n} for n in range(r["i"] % 3)])
    assert tuples(repeated, "in") == [(i, n) for i in range(len(rows)) for n in range(i % 3)]
    kept = ds.filter(lambda r: r["v"] is not None and r["v"] > 0)
    assert [i for (i,) in tuples(kept, "i")] == [
        i for i, r in enumerate(rows) if r[2] is not None and r[2] > 0
    ]


@SETTINGS
@hypothesis.given(ROWS, BLOCKS, st.integers(1, 9))
def test_blocks_of_a_number_of_rows_and_of_keys(rows, blocks, size):
    ds = dataset(rows, blocks)
    everything = [(*row, i) for i, row in enumerate(rows)]
    even = ds.repartition(target_num_rows_per_block=size).materialize()
    assert tuples(even, "ktvi") == everything
    by_key = ds.repartition(3, keys=["k"])
    places = collections.defaultdict(set)
    for place, ref in enumerate(by_key.get_internal_block_refs()):
        for row in ray.get(ref).to_pylist():
            places[row["k"]].add(place)
    assert all(len(found) == 1 for found in places.values())
    assert counted(tuples(by_key, "ktvi")) == counted(everything)
    assert counted(tuples(ds.randomize_block_order(seed=2), "ktvi")) == counted(everything)


@SETTINGS
@hypothesis.given(ROWS, BLOCKS, st.integers(1, 7), st.integers(1, 20))
def test_batches(rows, blocks, size, buffer):
    ds = dataset(rows, blocks, "i")
    numbers = list(range(len(rows)))
    made = [batch["i"].tolist() for batch in ds.iter_batches(batch_size=size)]
    assert made == [numbers[a : a + size] for a in range(0, len(rows), size)]
    full = [batch["i"].tolist() for batch in ds.iter_batches(batch_size=size, drop_last=True)]
    assert full == [batch for batch in made if len(batch) == size]
    mixed = ds.iter_batches(batch_size=size, local_shuffle_buffer_size=buffer, local_shuffle_seed=1)
    mixed = [batch["i"].tolist() for batch in mixed]
    assert sorted(sum(mixed, [])) == numbers and [len(b) for b in mixed] == [len(b) for b in made]


@SETTINGS
@hypothesis.given(ROWS, BLOCKS, st.integers(1, 4))
def test_putting_side_by_side(rows, blocks, others):
    ds = dataset(rows, blocks, "i")
    more = [
        dataset(rows, (blocks + n) % 4 + 1, "i").map_batches(lambda b, n=n: {f"x{n}": b["i"] * n})
        for n in range(others)
    ]
    names = ["i", *(f"x{n}" for n in range(others))]
    assert tuples(ds.zip(*more), names) == [(i, *(i * n for n in range(others))) for i in range(len(rows))]


@SETTINGS
@hypothesis.given(
    st.lists(st.tuples(KEYS, TEXTS, NUMBERS), min_size=8, max_size=20), BLOCKS, st.integers(0, 9)
)
def test_parts_for_training(rows, blocks, seed):
    ds = dataset(rows, blocks, "i")
    numbers = list(range(len(rows)))
    parts = [[i for (i,) in tuples(part, "i")] for part in ds.split_proportionately([0.3, 0.4])]
    edges = [0, *(int(len(rows) * share) for share in (0.3, 0.3 + 0.4)), len(rows)]
    assert parts == [numbers[a:b] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    train, test = ds.train_test_split(0.25, shuffle=True, seed=seed)
    train, test = ([i for (i,) in tuples(part, "i")] for part in (train, test))
    assert sorted(train + test) == numbers and len(train) == int(len(rows) * 0.75)
    sample = [i for (i,) in tuples(ds.random_sample(0.5, seed=seed), "i")]
    assert sample == sorted(set(sample)) and set(sample) <= set(numbers)
    assert [i for (i,) in tuples(ds.random_sample(0.5, seed=seed), "i")] == sample
