"""Columns of Parquet files that are read page by page, beside Arrow: types, codecs, encodings, nulls, damage."""

import datetime
import random

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import ray
from ray.data.expressions import col, lit

from narke.data.datasource.paged import PagedColumn, is_paged

ROWS = 50_000
DAY = datetime.date(2001, 1, 1)


def numbers(rows=ROWS, seed=0):
    """Columns that dictionaries hold, and one that none does."""
    rng = np.random.default_rng(seed)
    few, many = rng.integers(0, 50, rows), rng.integers(-(2**60), 2**60, rows)
    days = pa.array(np.datetime64(DAY) + few)
    return pa.table(
        {
            "i32": few.astype(np.int32),
            "u32": few.astype(np.uint32),
            "i64": pa.array(np.arange(rows)),
            "u64": many.astype(np.uint64),
            "f32": few.astype(np.float32) / 3,
            "f64": many.astype(float),
            "day": days,
            "us": days.cast(pa.timestamp("us", "Asia/Kathmandu")),
            "ns": days.cast(pa.timestamp("ns")),
            "same": pa.array(np.full(rows, 7)),
        }
    )


def paged(path, name):
    """A column of a file's first row group; reading it by Arrow is an error."""
    file = pq.ParquetFile(path)
    about, place = file.metadata.row_group(0), file.schema.names.index(name)
    own, kind = file.schema.column(place), file.schema_arrow.field(name).type
    assert is_paged(about.column(place), own, kind), name
    content = path.read_bytes()

    def by_arrow():
        raise LookupError(name)

    def read_at(size, start):
        return pa.py_buffer(content[start : start + size])

    return PagedColumn(about.column(place), kind, own.max_definition_level > 0, read_at, by_arrow)


def agree(path, table):
    """Assert that all columns are read as they are in the table: whole, some rows, and tests of values."""
    chosen = np.unique(np.random.default_rng(1).integers(0, len(table), 300)).astype(np.uint32)
    tested = 0
    for name in table.column_names:
        want = table.column(name).combine_chunks()
        assert paged(path, name)().combine_chunks().equals(want), name
        assert paged(path, name).pick(chosen).equals(want.take(pa.array(chosen))), name
        bound = want[len(want) // 2]
        mask = paged(path, name).test(lambda values, bound=bound: pc.less(values, bound))
        assert mask is None or mask.equals(pc.less(want, bound)), name
        tested += mask is not None
    return tested


@pytest.mark.parametrize("codec", ["snappy", "gzip", "zstd", "brotli", "none"])
def test_types_and_codecs(tmp_path, codec):
    table = numbers()
    pq.write_table(table, tmp_path / "a.parquet", compression=codec, dictionary_pagesize_limit=2**18)
    assert agree(tmp_path / "a.parquet", table) == 7


def test_plain_columns_and_pages_of_many_sizes(tmp_path):
    table, path = numbers(), tmp_path / "a.parquet"
    pq.write_table(table, path, use_dictionary=False)
    assert agree(path, table) == 0
    pq.write_table(table, path, data_page_size=100, write_batch_size=37)
    assert agree(path, table) > 0
    required = pa.schema([field.with_nullable(False) for field in table.schema])
    pq.write_table(table.cast(required), path)
    assert agree(path, table) > 0


def test_rows_that_do_not_ascend_are_not_picked(tmp_path):
    pq.write_table(numbers(), tmp_path / "a.parquet")
    assert paged(tmp_path / "a.parquet", "i64").pick(np.array([40_000, 3], np.uint32)) is None


def test_pages_of_the_second_version_and_nulls_are_left_to_arrow(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(numbers(), path, data_page_version="2.0")
    with pytest.raises(LookupError):
        paged(path, "i32")()
    column = [None if i % 9 == 0 else i for i in range(1000)]
    pq.write_table(pa.table({"x": column}), path, write_statistics=False)
    with pytest.raises(LookupError):
        paged(path, "x")()
    assert paged(path, "x").pick(np.array([1], np.uint32)) is None
    pq.write_table(pa.table({"x": column}), path)
    with pytest.raises(AssertionError):
        paged(path, "x")


def test_damage_is_never_read_otherwise_than_by_arrow(tmp_path):
    path, chance = tmp_path / "a.parquet", random.Random(5)
    pq.write_table(numbers(5000), path)
    good, footer = path.read_bytes(), pq.ParquetFile(path).metadata.serialized_size + 8
    outcomes = set()
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(chance.choice([1, 1, 20])):
            bad[chance.randrange(4, len(bad) - footer)] = chance.randrange(256)
        path.write_bytes(bad)
        for name in ("i32", "u64", "us"):
            try:
                want = pq.ParquetFile(path).read_row_group(0, columns=[name]).column(0).combine_chunks()
            except (OSError, pa.ArrowException):
                want = None
            try:
                got = paged(path, name)().combine_chunks()
            except LookupError:
                got = None
            if want is not None and got is not None:
                assert got.equals(want)
            outcomes.add((want is None, got is None))
    assert (False, False) in outcomes and (True, True) in outcomes


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A file whose row groups are read column by column, and its table."""
    table = numbers(200_000)
    table = table.append_column("text", pa.array([f"t{i % 5}" for i in range(len(table))]))
    gaps = pa.array([None if i % 3 == 0 else i % 11 for i in range(len(table))])
    table = table.append_column("gaps", gaps)
    path = tmp_path_factory.mktemp("paged") / "a.parquet"
    pq.write_table(table, path)
    return str(path), table


FILTERS = {
    "of one column": (col("i32") < 5, lambda t: pc.less(t["i32"], 5)),
    "of coded columns": (
        (col("i32") < 20) & (col("day") >= lit(DAY + datetime.timedelta(days=7))) & (col("f32") < 6),
        lambda t: pc.and_(
            pc.and_(pc.less(t["i32"], 20), pc.greater_equal(t["day"], DAY + datetime.timedelta(days=7))),
            pc.less(t["f32"].cast(pa.float64()), 6),
        ),
    ),
    "of all kinds of columns": (
        (col("i32") > 3) & (col("text") == "t1") & (col("gaps") < 6) & (col("i64") > col("i32") * 1000),
        lambda t: pc.and_(
            pc.and_(pc.greater(t["i32"], 3), pc.equal(t["text"], "t1")),
            pc.and_(
                pc.less(t["gaps"], 6), pc.greater(t["i64"], pc.multiply(t["i32"].cast(pa.int64()), 1000))
            ),
        ),
    ),
    "that is null somewhere": (
        (col("gaps") > 4) | (col("i32") == 1),
        lambda t: pc.or_kleene(pc.greater(t["gaps"], 4), pc.equal(t["i32"], 1)),
    ),
    "that nothing passes": (
        (col("same") != 7) & (col("gaps") > 1),
        lambda t: pc.not_equal(t["same"], 7),
    ),
    "that everything passes": (col("same") == 7, lambda t: pc.equal(t["same"], 7)),
}


@pytest.mark.parametrize("name", list(FILTERS))
def test_filters(stored, name):
    path, table = stored
    expr, mask = FILTERS[name]
    want = table.filter(mask(table)).sort_by("i64")
    got = ray.data.read_parquet(path).filter(expr=expr).sort("i64").to_pandas()
    assert pa.Table.from_pandas(got, schema=want.schema, preserve_index=False).equals(want)
    twice = ray.data.read_parquet(path).filter(expr=expr).filter(expr=col("i64") % 2 == 0)
    left = want.filter(pc.equal(pc.bit_wise_and(want["i64"], 1), 0))
    assert twice.count() == len(left) and (twice.sum("i64") or 0) == (pc.sum(left["i64"]).as_py() or 0)


def test_rows_of_rows(stored):
    path, table = stored
    few = ray.data.from_arrow(pa.table({"i64": np.arange(0, 200_000, 17)}))
    got = ray.data.read_parquet(path).filter(expr=col("i32") < 25).join(few, "inner", 1, on=("i64",))
    got = got.filter(expr=col("f32") > 2).sort("i64").to_pandas()
    want = table.filter(pc.less(table["i32"], 25)).to_pandas()
    want = want[(want["i64"] % 17 == 0) & (want["f32"] > 2)]
    assert got["u64"].tolist() == want["u64"].tolist() and got["text"].tolist() == want["text"].tolist()
