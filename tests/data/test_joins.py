"""Joins by position: the same rows as Arrow's own joins, whatever the types of keys; and which joins run so."""

import pytest

pa = pytest.importorskip("pyarrow")

import hypothesis  # noqa: E402
import hypothesis.strategies as st  # noqa: E402
import numpy as np  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402
import ray  # noqa: E402

from narke.data.joining import Terms, join_each  # noqa: E402
from narke.data.transforms import read  # noqa: E402

FAR = st.sampled_from([-(2**63), 2**63 - 1, 0, 5, 10**15, -7 * 10**12, None])
KINDS = {
    pa.int64(): st.integers(-20, 20) | st.none() | FAR,
    pa.int32(): st.integers(0, 9),
    pa.uint64(): st.sampled_from([0, 7, 2**64 - 1]),
    pa.string(): st.sampled_from(["a", "b", "", None]),
    pa.bool_(): st.booleans() | st.none(),
    pa.timestamp("us"): st.integers(0, 9).map(lambda n: n * 10**12),
    pa.date32(): st.integers(-5, 5),
    pa.float64(): st.sampled_from([0.5, 1.5, None]),
}


@st.composite
def tables(draw):
    """Two tables with keys of the same types: k0, k1 and so on, and further columns."""
    kinds = draw(st.lists(st.sampled_from(list(KINDS)), min_size=1, max_size=3))
    sides = []
    for others in ({"v": pa.int64()}, {"t": pa.string(), "u": pa.float64()}):
        rows = draw(st.integers(0, 30))
        column = {
            f"k{i}": draw(st.lists(KINDS[k], min_size=rows, max_size=rows)) for i, k in enumerate(kinds)
        }
        parts = {name: pa.array(values, kinds[int(name[1:])]) for name, values in column.items()}
        more = {name: pa.array([str(i) for i in range(rows)]).cast(kind) for name, kind in others.items()}
        sides.append(pa.table({**parts, **more}))
    return sides


def rows_of(table):
    """Rows in an order that does not depend on theirs."""
    return sorted(map(repr, zip(*(column.to_pylist() for column in table.columns), strict=True)))


@hypothesis.settings(max_examples=150, deadline=None)
@hypothesis.given(
    tables(), st.sampled_from(["inner", "left outer", "left semi", "left anti", "full outer"]), st.booleans()
)
def test_blocks_join_as_arrow_joins_them(sides, how, in_parts):
    left, right = sides
    keys = tuple(name for name in left.column_names if name[0] == "k")
    terms = Terms(how, keys, keys, ("", ""))
    in_parts = in_parts and how != "full outer" and left.num_rows > 1
    blocks = [left.slice(0, 1), left.slice(1)] if in_parts else [left]
    got = pa.concat_tables(read(join_each(terms, blocks, right)))
    want = terms.by_arrow(left, right)
    assert got.schema.types == want.schema.types and got.column_names == want.column_names
    assert rows_of(got) == rows_of(want)


def test_names_on_both_sides_get_suffixes():
    left, right = pa.table({"k": [1, 2], "v": [1, 2]}), pa.table({"k": [2, 3], "v": [5, 6]})
    terms = Terms("inner", ("k",), ("k",), ("_a", "_b"))
    (got,) = read(join_each(terms, [left], right))
    assert got.to_pylist() == [{"k": 2, "v_a": 2, "v_b": 5}]


def test_names_on_both_sides_without_suffixes_are_refused():
    left, right = pa.table({"k": [1, 2], "v": [1, 2]}), pa.table({"k": [2, 3], "v": [5, 6]})
    with pytest.raises(ValueError, match=r"\['v'\] stand on both sides"):
        list(read(join_each(Terms("inner", ("k",), ("k",), (None, None)), [left], right)))
    (semi,) = read(join_each(Terms("left semi", ("k",), ("k",), (None, None)), [left], right))
    assert semi.to_pylist() == [{"k": 2, "v": 2}]
    (one,) = read(join_each(Terms("inner", ("k",), ("k",), (None, "_r")), [left], right))
    assert one.to_pylist() == [{"k": 2, "v": 2, "v_r": 5}]
    with pytest.raises(KeyError, match="cannot join.*'w'.*'k', 'v'"):
        list(read(join_each(Terms("inner", ("w",), ("k",), (None, None)), [left], right)))


@pytest.fixture(scope="module")
def orders(tmp_path_factory):
    """Two folders of Parquet files: orders in four files, and their customers."""
    base = tmp_path_factory.mktemp("orders")
    (base / "orders").mkdir()
    rng = np.random.default_rng(3)
    for i in range(4):
        rows = 100_000
        table = {
            "id": np.arange(rows) + i * rows,
            "customer": rng.integers(0, 500, rows),
            "price": rng.random(rows),
        }
        pq.write_table(
            pa.table({**table, "note": [f"n{n % 7}" for n in range(rows)]}), base / f"orders/{i}.parquet"
        )
    customers = {"number": np.arange(400), "country": [f"c{n % 5}" for n in range(400)]}
    pq.write_table(pa.table(customers), base / "customers.parquet")
    return base


def test_a_small_right_side_joins_where_the_left_is_read(orders):
    from narke.data.expressions import col

    customers = ray.data.read_parquet(str(orders / "customers.parquet")).filter(expr=col("country") != "c3")
    dear = ray.data.read_parquet(str(orders / "orders")).filter(expr=col("price") > 0.5)
    dear = dear.with_column("cents", col("price") * 100)
    both = dear.join(customers, "inner", 4, on=("customer",), right_on=("number",))
    found = both.groupby("country").sum("cents").materialize()
    assert "->Join->" in found.stats() and "Join:" not in found.stats()
    assert "JoinSide: 0 tasks, 1 blocks, 320 rows" in found.stats()
    left = pq.read_table(orders / "orders").to_pandas().query("price > 0.5")
    right = pq.read_table(orders / "customers.parquet").to_pandas().query("country != 'c3'")
    want = left.merge(right, left_on="customer", right_on="number").groupby("country").price.sum() * 100
    got = {row["country"]: row["sum(cents)"] for row in found.take_all()}
    assert got == pytest.approx(want.to_dict())


def test_joins_of_joins_and_of_large_sides(orders):
    rows = ray.data.read_parquet(str(orders / "orders"))
    both = rows.select_columns(["id", "customer"]).join(
        rows.select_columns(["id", "note"]), "inner", 3, on=("id",)
    )
    customers = ray.data.read_parquet(str(orders / "customers.parquet"))
    countries = ray.data.from_items([{"country": f"c{n}", "name": n * 11} for n in range(3)])
    named = customers.join(countries, "left_outer", 2, on=("country",))
    whole = both.join(named, "inner", 3, on=("customer",), right_on=("number",)).to_pandas()
    table = pq.read_table(orders / "orders").to_pandas()
    assert len(whole) == (table.customer < 400).sum() and whole.id.is_unique
    lone = (table.customer < 400) & (table.customer % 5 > 2)
    assert whole.name.isna().sum() == lone.sum()
    assert (whole.sort_values("id").note == table[table.customer < 400].sort_values("id").note.values).all()


def test_rows_that_a_filter_leaves_are_computed_alone(orders):
    from narke.data.expressions import col

    rows = ray.data.read_parquet(str(orders / "orders")).with_column("double", col("price") * 2)
    kept = rows.filter(expr=(col("double") > 1.9) & (col("note") == "n3")).drop_columns(["price"])
    table = pq.read_table(orders / "orders").to_pandas()
    want = table[(table.price * 2 > 1.9) & (table.note == "n3")]
    got = kept.to_pandas().sort_values("id")
    assert list(got.columns) == ["id", "customer", "note", "double"]
    assert got.id.tolist() == want.id.tolist() and np.allclose(got.double, want.price * 2)
    assert rows.filter(expr=col("double") > 5).count() == 0
    assert rows.filter(expr=col("double") > 5).take_all() == []


def test_groups_that_a_filter_empties_are_not_there(orders):
    from narke.data.expressions import col

    one = ray.data.read_parquet(str(orders / "orders")).filter(expr=col("id") < 2).groupby("note").count()
    assert one.take_all() == [{"note": "n0", "count()": 1}, {"note": "n1", "count()": 1}]
