"""The kernels over columns against numpy and Arrow, on random columns with nulls, slices and many chunks."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from narke.data import blocks, columns, grouping, kernels

ROWS = 400


def column(kind, rng):
    """A random column of a type, with nulls."""
    values = {
        "i": lambda: pa.array(rng.integers(-50, 50, ROWS)),
        "i8": lambda: pa.array(rng.integers(-50, 50, ROWS).astype(np.int8)),
        "u32": lambda: pa.array(rng.integers(0, 50, ROWS).astype(np.uint32)),
        "f": lambda: pa.array(np.where(rng.random(ROWS) < 0.1, np.nan, rng.normal(size=ROWS))),
        "f32": lambda: pa.array(rng.normal(size=ROWS).astype(np.float32)),
        "bool": lambda: pa.array(rng.random(ROWS) < 0.5),
        "str": lambda: pa.array(rng.choice(["", "a", "bc", "ä long string"], ROWS).tolist()),
        "large": lambda: pa.array(rng.choice(["x", "yz"], ROWS).tolist(), pa.large_string()),
        "bytes": lambda: pa.array([bytes([i % 7]) * (i % 5) for i in range(ROWS)]),
        "time": lambda: pa.array(rng.integers(0, 10**9, ROWS), pa.timestamp("ms", "UTC")),
        "date": lambda: pa.array(rng.integers(0, 10**4, ROWS).astype(np.int32), pa.date32()),
        "decimal": lambda: pa.array(rng.integers(0, 99, ROWS)).cast(pa.decimal128(30, 2)),
        "fixed": lambda: pa.array([bytes([i % 7]) * 3 for i in range(ROWS)], pa.binary(3)),
        "list": lambda: pa.array([[1] * (i % 3) for i in range(ROWS)]),
        "struct": lambda: pa.array([{"a": i} for i in range(ROWS)]),
        "dictionary": lambda: pa.array(rng.choice(["u", "v"], ROWS).tolist()).dictionary_encode(),
        "tensor": lambda: columns.tensor_from_numpy(rng.normal(size=(ROWS, 2, 3))),
        "none": lambda: pa.nulls(ROWS),
    }[kind]()
    if kind == "tensor":
        return values
    return pc.if_else(pa.array(rng.random(ROWS) < 0.9), values, pa.scalar(None, values.type))


KINDS = ["i", "i8", "u32", "f", "f32", "bool", "str", "large", "bytes", "time", "date", "decimal", "fixed", "list",
         "struct", "dictionary", "tensor", "none"]  # fmt: skip


def sliced(values, rng):
    """The values in chunks, each a slice of a larger array."""
    whole = pa.table({"x": values})
    parts = [pa.concat_tables([whole, whole]).combine_chunks().slice(ROWS, 100), whole.slice(100, 3)]
    return pa.concat_tables([*parts, whole.slice(103, 0), whole.slice(103)])


@pytest.mark.parametrize("kind", KINDS)
def test_take_picks_the_rows(kind):
    rng = np.random.default_rng(1)
    table = sliced(column(kind, rng), rng)
    rows = rng.integers(0, ROWS, 1000).astype(np.uint32)
    got = kernels.take(table, rows)
    got.validate(full=True)
    whole = table.combine_chunks()
    assert got.schema == table.schema
    assert blocks.to_batch(got, "pyarrow").column("x").to_pylist() == [
        whole.column("x")[int(i)].as_py() for i in rows
    ] or kind in ("f", "tensor")
    if kind == "tensor":
        want = columns.to_numpy(whole.column("x"))[rows]
        np.testing.assert_array_equal(columns.to_numpy(got.column("x")), want)
    if kind == "f":
        np.testing.assert_array_equal(got.to_pandas()["x"], whole.to_pandas()["x"].to_numpy()[rows])


def test_take_refuses_rows_that_are_not_there():
    with pytest.raises(IndexError):
        kernels.take(pa.table({"x": [1, 2]}), np.array([2], np.uint32))


def test_take_of_nothing():
    table = pa.table({"x": pa.array([], pa.string()), "y": pa.array([], pa.int64())})
    assert kernels.take(table, np.array([], np.uint32)).equals(table)
    assert kernels.take(pa.table({"x": ["a"]}), np.array([], np.uint32)).num_rows == 0


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("list", "struct", "tensor")])
def test_groups_are_those_of_python(kind):
    rng = np.random.default_rng(2)
    table = pa.table({"k": column(kind, rng), "l": column("i8", rng), "v": np.arange(ROWS)})
    ids, keys = grouping.group(table, ["k", "l"])
    pairs = list(zip(*(map(repr, table.column(n).to_pylist()) for n in ("k", "l")), strict=True))
    made = list(zip(*(map(repr, keys.column(n).to_pylist()) for n in ("k", "l")), strict=True))
    assert [made[i] for i in ids.tolist()] == pairs
    assert len(made) == len(set(pairs)) == len(set(made))


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("dictionary",)])
def test_equal_rows_hash_alike_in_any_chunks(kind):
    rng = np.random.default_rng(3)
    table = sliced(column(kind, rng), rng)
    got = grouping.hash_rows(table, ["x"])
    by_value = {}
    for value, hashed in zip(columns.to_values(table.column("x")), got.tolist(), strict=True):
        assert by_value.setdefault(repr(value), hashed) == hashed
    assert len(set(by_value.values())) == len(by_value)


@pytest.mark.parametrize("kind", ["i", "i8", "u32", "f32", "time", "date", "bool", "str", "decimal"])
@pytest.mark.parametrize("descending", [False, True])
def test_orders_are_those_of_arrow(kind, descending):
    rng = np.random.default_rng(4)
    table = pa.table({"k": column(kind, rng), "l": column("f", rng), "row": np.arange(ROWS)})
    got = grouping.sort(table, ["k", "l"], [descending, False])
    way = "descending" if descending else "ascending"
    want = table.sort_by([("k", way), ("l", "ascending"), ("row", "ascending")])
    assert got.column("k").to_pylist() == want.column("k").to_pylist()
    assert list(map(repr, got.column("l").to_pylist())) == list(map(repr, want.column("l").to_pylist()))


@pytest.mark.parametrize("kind", ["i", "f", "u32", "time", "str"])
@pytest.mark.parametrize("descending", [False, True])
def test_partitions_by_range_are_in_order(kind, descending):
    rng = np.random.default_rng(5)
    table = pa.table({"k": column(kind, rng)})
    full = table.filter(pc.is_valid(table.column("k")))
    if kind == "f":
        full = full.filter(pc.invert(pc.is_nan(full.column("k"))))
    bounds = grouping.sort(full.slice(0, 20), ["k"], [descending])
    ids = grouping.partition_of(table, bounds, ["k"], [descending])
    ordered = grouping.sort(full, ["k"], [descending])
    place = grouping.partition_of(ordered, bounds, ["k"], [descending])
    assert (np.diff(place.astype(int)) >= 0).all()
    assert (np.asarray(ids)[np.asarray(table.column("k").is_null())] == 20).all()


@pytest.mark.parametrize("kind", ["i", "i8", "u32", "f32", "time", "date"])
@pytest.mark.parametrize("what", ["sum", "min", "max", "moments"])
def test_reductions_are_those_of_numpy(kind, what):
    rng = np.random.default_rng(6)
    values, ids = column(kind, rng), rng.integers(0, 5, ROWS).astype(np.uint32)
    made = kernels.reduce(what, ids, values, 6)
    plain = (
        values.cast(pa.int32()) if kind == "date" else values.cast(pa.int64()) if kind == "time" else values
    )
    for g in range(6):
        own = plain.filter(pa.array(ids == g)).drop_null().to_numpy().astype(float)
        assert made[-1][g] == len(own)
        if not len(own):
            continue
        want = {"sum": own.sum, "min": own.min, "max": own.max, "moments": own.mean}[what]()
        assert made[0][g] == pytest.approx(want)
        if what == "moments":
            assert made[1][g] == pytest.approx(((own - own.mean()) ** 2).sum())


def test_kernels_refuse_buffers_that_are_too_short():
    from narke import _native

    short = (b"12345678", None, None, 0, 2)
    with pytest.raises(ValueError, match="too short"):
        _native.columns_gather([short], "i", 8, np.zeros(8, np.uint8), bytearray(8), None)
    with pytest.raises(ValueError, match="too small"):
        _native.columns_gather(
            [(b"12345678", None, None, 0, 1)], "i", 8, np.zeros(8, np.uint8), bytearray(4), None
        )
    with pytest.raises(IndexError):
        _native.columns_gather(
            [(b"12345678", None, None, 0, 1)], "i", 8, np.array([0, 1], np.uint32), bytearray(8), None
        )


@pytest.mark.parametrize(
    "keys", [["near"], ["small", "near"], ["texts", "small"], ["texts"], ["far", "near"]]
)
def test_groups_of_large_blocks(keys):
    rng, rows = np.random.default_rng(4), grouping.SMALL_RANGE + 1000
    texts = pa.array([f"x{i}" for i in range(9)])
    block = pa.table(
        {
            "near": rng.integers(0, 30, rows) * 2 - 2**60,
            "small": rng.integers(-128, 128, rows).astype(np.int8),
            "far": rng.integers(0, 300, rows) * 10**6,
            "texts": pa.DictionaryArray.from_arrays(rng.integers(0, 4, rows).astype(np.int32), texts),
        }
    )
    ids, found = grouping.group(block, keys)
    assert len(np.unique(ids)) == len(found) == len(set(map(str, found.to_pylist())))
    back = found.take(pa.array(ids))
    for key in keys:
        assert back[key].cast(pa.string()).to_pylist() == block[key].cast(pa.string()).to_pylist()
