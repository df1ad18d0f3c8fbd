"""What needs no cluster: columns, blocks, groups, plans."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

blk = pytest.importorskip("narke.data.blocks")
from narke.data import columns, grouping, transforms  # noqa: E402
from narke.data.compute import ActorPoolStrategy, TaskPoolStrategy, choose  # noqa: E402
from narke.data.datasource.datasource import RangeSource  # noqa: E402
from narke.data.optimize import optimize  # noqa: E402
from narke.data.plan import Limit, Map, Read, Work  # noqa: E402
from narke.data.split_plan import CutAt, share_edges  # noqa: E402


@pytest.mark.parametrize(
    "values",
    [
        np.arange(5),
        np.arange(12.0).reshape(3, 2, 2),
        np.ones((4, 3), dtype=bool),
        np.zeros((3, 0)),
        np.array(["a", "b"]),
        np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[ns]"),
        np.array([1.5, None], dtype=object),
    ],
)
def test_arrays_come_back(values):
    got = columns.to_numpy(columns.to_arrow(values))
    assert got.shape == values.shape
    assert [str(v) for v in got.ravel()] == [str(v).replace("None", "nan") for v in values.ravel()]


def test_numbers_come_without_a_copy():
    values = np.arange(1000)
    assert np.shares_memory(columns.to_numpy(columns.to_arrow(values)), values)


def test_mixed_values_become_objects():
    mixed = [1, "a", {2}, None]
    assert columns.to_values(columns.to_arrow(mixed)) == mixed


def test_a_column_of_one_value_is_refused():
    with pytest.raises(ValueError, match="array or a list"):
        blk.from_batch({"a": np.float64(3.0)})
    with pytest.raises(ValueError, match="list"):
        blk.from_batch([1, 2])


@pytest.mark.parametrize("sizes", [[10], [3, 4, 3], [1] * 10, [0, 10, 0]])
@pytest.mark.parametrize("rows", [1, 3, 4, 10, 100])
def test_rebatch(sizes, rows):
    edges = np.cumsum([0, *sizes])
    blocks = [pa.table({"x": np.arange(a, b)}) for a, b in zip(edges[:-1], edges[1:], strict=True)]
    batches = list(blk.rebatch(blocks, rows))
    assert [v for b in batches for v in b["x"].to_pylist()] == list(range(10))
    assert {b.num_rows for b in batches[:-1]} <= {rows}


def test_a_slice_leaves_its_parent_behind():
    table = pa.table({"x": np.arange(100_000), "s": [str(i) for i in range(100_000)]})
    small = blk.compact(table.slice(500, 10))
    assert small.get_total_buffer_size() < 10_000
    assert small.equals(table.slice(500, 10))


def test_blocks_of_unlike_types_join():
    joined = blk.concat([pa.table({"x": [1]}), pa.table({"x": [1.5]}), pa.table({"x": ["a"], "y": [2]})])
    assert columns.to_values(joined["x"]) == [1, 1.5, "a"]
    assert joined["y"].to_pylist() == [None, None, 2]


def test_large_blocks_are_cut_and_small_ones_joined():
    small = [pa.table({"x": np.arange(10)})] * 20
    assert [b.num_rows for b in transforms.sized(small, 800)] == [100, 100]
    large = [pa.table({"x": np.arange(1000)})]
    assert {b.num_rows for b in transforms.sized(large, 800)} == {100}


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("column", ["i", "f", "s", "n"])
def test_partitions_follow_bounds(column, descending):
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "i": rng.integers(0, 50, 200),
            "f": rng.random(200),
            "s": [chr(97 + v) for v in rng.integers(0, 26, 200)],
            "n": pa.array([None if v < 0.2 else v for v in rng.random(200)]),
        }
    )
    ordered = grouping.sort(table, [column], [descending])
    bounds = ordered.take(pa.array([50, 100, 150]))
    ids = grouping.partition_of(table, bounds, [column], [descending])
    parts = [grouping.sort(p, [column], [descending]) for p in grouping.split_by_id(table, ids, 4)]
    assert pa.concat_tables(parts)[column].to_pylist() == ordered[column].to_pylist()


def test_equal_keys_hash_alike():
    one = grouping.hash_rows(pa.table({"k": [1, 2, None]}), ["k"])
    two = grouping.hash_rows(pa.table({"k": [None, 2.0, 1.0]}), ["k"])
    assert one.tolist() == two.tolist()[::-1]


def test_groups_of_sorted_rows():
    table = pa.table({"a": [1, 1, 2, 2, None], "b": ["x", "y", "y", "y", "y"]})
    assert grouping.group_starts(table, ["a"]).tolist() == [0, 2, 4]
    assert grouping.group_starts(table, ["a", "b"]).tolist() == [0, 1, 2, 4]
    assert grouping.group_starts(table.slice(0, 0), ["a"]).tolist() == []


def step(name):
    def change(block):
        return block

    change.__name__ = name
    return transforms.Step("block", change)


def test_neighbouring_maps_and_reads_become_one():
    read = Read(source=RangeSource(10))
    plan = optimize(Map((Map((read,), (step("a"),)),), (step("b"),)))
    assert isinstance(plan, Read)
    assert plan.name == "ReadRange->a->b"


def test_maps_with_other_resources_stay_apart():
    read = Read(source=RangeSource(10))
    plan = optimize(Map((Map((read,), (step("a"),), remote_args={"num_cpus": 2}),), (step("b"),)))
    assert isinstance(plan.inputs[0], Map)
    pooled = Map((Map((read,), (step("a"),), ActorPoolStrategy(size=1)),), (step("b"),))
    assert isinstance(optimize(pooled).inputs[0], Map)


def test_a_limit_goes_before_maps_that_keep_rows():
    read = Read(source=RangeSource(10))
    plan = optimize(Limit((Map((read,), (step("a"),), keeps_rows=True),), 3))
    assert isinstance(plan, Map)
    assert isinstance(plan.inputs[0], Limit)
    assert plan.inputs[0].inputs[0].row_limit == 3
    kept = optimize(Limit((Map((read,), (step("a"),)),), 3))
    assert isinstance(kept, Limit)


@pytest.mark.parametrize(
    ("fn", "compute", "concurrency", "want"),
    [
        (len, None, None, TaskPoolStrategy()),
        (len, None, 3, TaskPoolStrategy(3)),
        (dict, None, 2, ActorPoolStrategy(size=2)),
        (dict, None, (1, 4), ActorPoolStrategy(min_size=1, max_size=4)),
        (dict, None, (1, 4, 2), ActorPoolStrategy(min_size=1, max_size=4, initial_size=2)),
        (dict, None, None, ActorPoolStrategy()),
    ],
)
def test_strategies(fn, compute, concurrency, want):
    assert choose(fn, compute, concurrency) == want


@pytest.mark.parametrize(
    ("fn", "compute", "concurrency"),
    [
        (len, None, (1, 2)),
        (dict, TaskPoolStrategy(), None),
        (dict, ActorPoolStrategy(size=1), 1),
        (dict, None, (0, 2)),
        (dict, None, (3, 2)),
    ],
)
def test_strategies_that_do_not_fit(fn, compute, concurrency):
    with pytest.raises((ValueError, TypeError)):
        choose(fn, compute, concurrency)


def test_names_that_are_not_built_do_not_exist():
    import narke.data

    with pytest.raises(AttributeError, match="read_bigquery"):
        narke.data.read_bigquery  # noqa: B018
    assert all(hasattr(narke.data, name) for name in narke.data.__all__)


def test_cuts_name_each_row_once():
    from narke.data.plan import Bundle

    bundles = [Bundle(f"r{i}", rows, 8 * rows, None) for i, rows in enumerate([4, 0, 6])]
    works = list(CutAt([2, 4, 7]).plan([bundles], None))
    assert all(isinstance(w, Work) for w in works)
    pieces = [[(ref, r) for ref, r in zip(w.args[2:], w.args[1], strict=True) if r[1] > r[0]] for w in works]
    assert pieces == [[("r0", (0, 2))], [("r0", (2, 4))], [("r2", (0, 3))], [("r2", (3, 6))]]


def test_frames_with_tensors_come_back():
    frame = pd.DataFrame({"a": [1, 2], "t": [np.ones((2, 2)), np.zeros((2, 2))]})
    back = blk.to_pandas(blk.from_pandas(frame))
    np.testing.assert_array_equal(np.stack(back["t"]), np.stack(frame["t"]))


@pytest.mark.parametrize(("rows", "shares", "edges"), [
    (6, [1 - 0.34], [3]), (10, [0.2, 0.5], [2, 7]), (10, [0.7, 0.1], [6, 7]), (19, [0.3, 0.1, 0.01, 0.1], [4, 6, 7, 9]),
    (100, [0.9], [90]), (10, [1 - 0.7], [3]),
])  # fmt: skip
def test_shares_of_rows(rows, shares, edges):
    """As Ray 2.60 cuts: rounded down, and none is empty."""
    assert share_edges(rows, shares) == edges


@pytest.mark.parametrize(
    ("rows", "shares"), [(1, [0.5]), (10, []), (10, [0.5, 0.5]), (10, [0.0, 0.5]), (3, [0.31, 0.01])]
)
def test_shares_that_cannot_be_cut(rows, shares):
    with pytest.raises(ValueError, match="shares"):
        share_edges(rows, shares)
