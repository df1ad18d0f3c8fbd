import numpy as np
import pyarrow as pa
import pytest
import ray
from tables import ROWS, same_order, trips

DF = trips()


@pytest.fixture(scope="module")
def ds(cluster):
    return ray.data.from_pandas(DF).repartition(6).materialize()


def test_take(ds):
    assert [r["row"] for r in ds.take(5)] == [0, 1, 2, 3, 4]
    assert len(ds.take()) == 20
    assert len(ds.take_all()) == ROWS
    with pytest.raises(ValueError):
        ds.take_all(limit=10)


def test_take_batch(ds):
    batch = ds.take_batch(7)
    assert batch["row"].tolist() == list(range(7))
    assert len(ds.take_batch(3, batch_format="pandas")) == 3
    assert isinstance(ds.take_batch(3, batch_format="pyarrow"), pa.Table)


def test_take_batch_of_nothing(ds):
    with pytest.raises(ValueError):
        ds.filter(expr="fare < 0").take_batch()


def test_show(ds, capsys):
    ds.select_columns(["row"]).show(2)
    assert capsys.readouterr().out.strip().splitlines()[-2:] == ["{'row': 0}", "{'row': 1}"]


def test_schema(ds):
    made = ds.map_batches(lambda b: {"a": b["row"], "s": b["flag"], "t": np.ones((len(b["row"]), 2))})
    schema = made.schema()
    assert schema.names == ["a", "s", "t"] == made.columns()
    assert schema.types[0] == pa.int64()


def test_rows_hold_python_values(ds):
    row = ds.take(1)[0]
    assert (type(row["row"]), type(row["flag"]), type(row["fare"])) == (int, str, float)


def test_iter_rows(ds):
    assert [r["row"] for r in ds.iter_rows()] == list(range(ROWS))


@pytest.mark.parametrize("prefetch", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [None, 128, 1000, 5000])
def test_iter_batches(ds, batch_size, prefetch):
    parts = [b["row"] for b in ds.iter_batches(batch_size=batch_size, prefetch_batches=prefetch)]
    assert np.concatenate(parts).tolist() == list(range(ROWS))
    if batch_size is not None:
        assert {len(p) for p in parts[:-1]} <= {batch_size}


def test_iter_batches_drops_the_last(ds):
    assert [len(b["row"]) for b in ds.iter_batches(batch_size=300, drop_last=True)] == [300, 300, 300]


@pytest.mark.parametrize("batch_format", ["pandas", "pyarrow"])
def test_iter_batches_in_formats(ds, batch_format):
    first = next(iter(ds.iter_batches(batch_size=10, batch_format=batch_format)))
    assert len(first) == 10
    assert list(first["row"].tolist() if batch_format == "pandas" else first["row"].to_pylist()) == list(
        range(10)
    )


def test_local_shuffle(ds):
    def order(seed):
        batches = ds.iter_batches(batch_size=50, local_shuffle_buffer_size=200, local_shuffle_seed=seed)
        return np.concatenate([b["row"] for b in batches]).tolist()

    assert sorted(order(1)) == list(range(ROWS)) != order(1)
    assert order(1) == order(1) != order(2)


def test_iteration_may_end_early_and_begin_again(ds):
    for _ in range(3):
        for batch in ds.map_batches(lambda b: b).iter_batches(batch_size=10):
            assert batch["row"].tolist() == list(range(10))
            break


def test_an_error_reaches_the_one_who_iterates(ds):
    def fails(batch):
        raise ValueError("not this one")

    with pytest.raises(Exception, match="not this one"):
        list(ds.map_batches(fails).iter_batches())


def test_iter_torch_batches(ds):
    torch = pytest.importorskip("torch")
    batches = list(ds.select_columns(["row"]).iter_torch_batches(batch_size=100, dtypes=torch.float32))
    assert sum(float(b["row"].sum()) for b in batches) == DF["row"].sum()


def test_to_pandas_with_a_limit(ds):
    with pytest.raises(ValueError):
        ds.to_pandas(limit=10)
    same_order(ds.to_pandas(limit=ROWS), DF)


def test_refs(ds):
    assert sum(t.num_rows for t in ray.get(ds.to_arrow_refs())) == ROWS
    assert sum(len(a["row"]) for a in ray.get(ds.to_numpy_refs())) == ROWS
    same_order(ray.get(ray.data.from_pandas(DF).to_pandas_refs())[0], DF)


def test_materialize_runs_once(tmp_path):
    def mark(batch):
        with open(tmp_path / "calls", "a") as f:
            f.write("x")
        return batch

    made = ray.data.range(10, override_num_blocks=1).map_batches(mark).materialize()
    assert (made.count(), made.sum("id"), len(made.take_all())) == (10, 45, 10)
    assert (tmp_path / "calls").read_text() == "x"


def test_stats_name_the_operators(ds):
    made = ds.map(lambda r: r).materialize()
    assert "Map" in made.stats()


def test_a_dataset_goes_to_tasks_and_actors(ds):
    @ray.remote
    def count(d):
        return d.filter(expr="row < 10").count()

    assert ray.get(count.remote(ds)) == 10


def test_an_iterator_goes_to_a_task(ds):
    @ray.remote
    def total(it):
        return sum(int(b["row"].sum()) for b in it.iter_batches(batch_size=100))

    assert ray.get(total.remote(ds.iterator())) == DF["row"].sum()


def test_len_and_iteration_say_what_to_use(ds):
    with pytest.raises((TypeError, AttributeError), match="count"):
        len(ds)


@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_split(ds, n, equal):
    parts = ds.split(n, equal=equal)
    counts = [p.count() for p in parts]
    rows = [r["row"] for p in parts for r in p.take_all()]
    assert len(parts) == n
    assert len(rows) == len(set(rows))
    if equal:
        assert counts == [ROWS // n] * n
    else:
        assert sum(counts) == ROWS


def test_split_at_indices(ds):
    parts = ds.split_at_indices([0, 10, 10, 700, 2000])
    assert [p.count() for p in parts] == [0, 10, 0, 690, 300, 0]
    assert [r["row"] for p in parts for r in p.take_all()] == list(range(ROWS))


def test_split_proportionately(ds):
    assert [p.count() for p in ds.split_proportionately([0.2, 0.5])] == [200, 500, 300]
    with pytest.raises(ValueError):
        ds.split_proportionately([0.7, 0.5])


@pytest.mark.parametrize("shuffle", [False, True])
def test_train_test_split(ds, shuffle):
    train, test = ds.train_test_split(0.25, shuffle=shuffle, seed=1)
    assert (train.count(), test.count()) == (750, 250)
    rows = [r["row"] for r in train.take_all() + test.take_all()]
    assert (rows != list(range(ROWS))) == shuffle
    assert sorted(rows) == list(range(ROWS))
    assert ds.train_test_split(30)[1].count() == 30


@pytest.mark.parametrize("equal", [False, True])
def test_streaming_split(ds, equal):
    splits = ds.streaming_split(3, equal=equal)

    @ray.remote(num_cpus=0.5)
    def consume(it):
        return [
            np.concatenate([b["row"] for b in it.iter_batches(batch_size=40)] or [[]]).tolist()
            for _ in range(2)
        ]

    got = ray.get([consume.remote(it) for it in splits])
    for epoch in range(2):
        rows = [row for mine in got for row in mine[epoch]]
        assert len(rows) == len(set(rows))
        if equal:
            assert [len(mine[epoch]) for mine in got] == [ROWS // 3] * 3
        else:
            assert sorted(rows) == list(range(ROWS))
