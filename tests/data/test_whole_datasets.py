"""Resuming, looking up, describing and handing over datasets; errors that say where; progress."""

import os

import numpy as np
import pandas as pd
import pytest
import ray
from ray.data.checkpoint import CheckpointConfig


def written(folder):
    return sorted(pd.read_parquet(folder)["id"].tolist()) if os.path.isdir(folder) else []


def test_a_job_goes_on_where_it_stopped(tmp_path):
    def run(bad):
        def work(batch):
            for value in batch["id"]:
                if bad and value == 77:
                    raise RuntimeError("stopped")
                (tmp_path / f"seen-{bad}-{value}").touch()
            return batch

        ds = ray.data.range(100, override_num_blocks=10).map_batches(work, concurrency=1)
        ds.context.checkpoint_config = CheckpointConfig("id", str(tmp_path / "notes"))
        ds.write_parquet(str(tmp_path / "out"))

    with pytest.raises(Exception, match="stopped"):
        run(True)
    before = written(tmp_path / "out")
    assert 0 < len(before) < 100 and os.listdir(tmp_path / "notes")
    run(False)
    assert written(tmp_path / "out") == list(range(100))
    again = {int(name.rsplit("-", 1)[1]) for name in os.listdir(tmp_path) if name.startswith("seen-False")}
    assert again == set(range(100)) - set(before)
    assert not (tmp_path / "notes").exists()


def test_only_chains_of_maps_can_be_resumed(tmp_path):
    ds = ray.data.range(10).random_shuffle()
    ds.context.checkpoint_config = CheckpointConfig("id", str(tmp_path / "notes"))
    with pytest.raises(Exception, match="RandomShuffle"):
        ds.write_parquet(str(tmp_path / "out"))


def test_rows_by_key():
    ds = ray.data.from_items([{"k": i * 2, "v": str(i)} for i in range(100)]).random_shuffle(seed=1)
    found = ds.repartition(5).to_random_access_dataset("k", num_workers=2)
    assert ray.get(found.get_async(10)) == {"k": 10, "v": "5"}
    assert ray.get(found.get_async(11)) is None
    assert found.multiget([198, -1, 0]) == [{"k": 198, "v": "99"}, None, {"k": 0, "v": "0"}]
    assert "100" not in found.stats() or "blocks" in found.stats()


def test_summary():
    frame = pd.DataFrame({"x": [1.0, 0.0, None, 3.0], "s": ["a", "b", "a", None]})
    summary = ray.data.from_pandas(frame).summary()
    assert summary.statistics["x"]["count"] == 4 and summary.statistics["x"]["missing_pct"] == 25.0
    assert summary.statistics["x"]["max"] == 3.0 and summary.statistics["s"]["missing_pct"] == 25.0
    assert set(summary.to_pandas().columns) == {"statistic", "x", "s"}
    with pytest.raises(ValueError, match="nowhere"):
        ray.data.from_pandas(frame).summary(["nowhere"])


def test_lineage_travels():
    ds = ray.data.range(10).map_batches(lambda b: {"id": b["id"] + 1})
    assert ray.data.Dataset.deserialize_lineage(ds.serialize_lineage()).sum("id") == 55
    assert not ds.materialize().has_serializable_lineage()
    with pytest.raises(ValueError, match="blocks"):
        ds.materialize().serialize_lineage()


def test_torch_datasets():
    torch = pytest.importorskip("torch")
    ds = ray.data.from_pandas(pd.DataFrame({"a": np.arange(6.0), "b": np.arange(6.0), "y": np.arange(6)}))
    pairs = list(ds.iterator().to_torch(label_column="y", batch_size=4, feature_column_dtypes=torch.float32))
    assert [tuple(f.shape) for f, _ in pairs] == [(4, 2), (2, 2)]
    assert pairs[0][0].dtype == torch.float32 and pairs[0][1].reshape(-1).tolist() == [0, 1, 2, 3]
    named = next(
        iter(ds.iterator().to_torch(feature_columns={"one": ["a"], "two": ["b", "a"]}, batch_size=6))
    )
    assert named[0]["two"].shape == (6, 2) and named[1] is None


def test_errors_say_which_function_and_row():
    def explode(row):
        return {"x": 1 // (row["id"] - 7)}

    with pytest.raises(ZeroDivisionError, match="explode") as caught:
        ray.data.range(10, override_num_blocks=1).map(explode).take_all()
    assert "row 7" in str(caught.value)
    with pytest.raises(ZeroDivisionError, match=r"MapBatches\(<lambda>\)"):
        ray.data.range(10).map_batches(lambda b: {"x": 1 // 0}).take_all()


def test_errors_within_the_budget_are_passed_over():
    def fail_some(batch):
        if batch["id"][0] in (0, 30):
            raise ValueError("not these")
        return batch

    ds = ray.data.range(100, override_num_blocks=10).map_batches(fail_some)
    ds.context.max_errored_blocks = 2
    assert sorted(r["id"] for r in ds.take_all()) == [*range(10, 30), *range(40, 100)]
    assert "2 errors passed over" in ds.stats()
    ds.context.max_errored_blocks = 1
    with pytest.raises(Exception, match="not these"):
        ds.take_all()


def test_functions_are_tried_again_where_asked(tmp_path):
    def flaky(batch):
        mark = tmp_path / str(batch["id"][0])
        if not mark.exists():
            mark.touch()
            raise OSError("once")
        return batch

    ds = ray.data.range(20, override_num_blocks=2).map_batches(flaky)
    ds.context.retried_map_errors, ds.context.max_map_retries = True, 2
    assert ds.count() == 20


def test_batches_of_one_column_are_that_column():
    ds = ray.data.range(10).map_batches(lambda b: b * 2 + 1)
    assert ds.filter(lambda row: row > 10).take_all() == [{"id": i} for i in range(11, 20, 2)]
    assert ds.map_batches(lambda b: {"n": [len(np.asarray(b))]}).sum("n") == 10
    with pytest.raises(TypeError):
        ray.data.from_items([{"a": 1, "b": 2}]).map_batches(lambda b: b * 2).take_all()


def test_columns_that_nobody_touches_are_not_read(tmp_path):
    rows = 100_000  # small row groups are read at once
    frame = pd.DataFrame({"a": range(rows), "b": range(rows), "c": ["x"] * rows})
    frame.to_parquet(tmp_path / "x.parquet")

    def touched(batch):
        before = set(batch._waiting)
        batch["d"] = batch["a"] + 1
        assert before == {"a", "b", "c"} and batch._waiting == {"b", "c"}
        return batch

    ds = ray.data.read_parquet(str(tmp_path)).map_batches(touched)
    assert ds.sum("d") == sum(range(1, rows + 1))
    assert ds.take(1) == [{"a": 0, "b": 0, "c": "x", "d": 1}]


def test_lazy_batches_are_dicts():
    import copy
    import pickle

    from narke.data.lazy import LazyBatch, LazyBlock

    def made():
        import pyarrow as pa

        return LazyBatch(LazyBlock(2, {"a": lambda: pa.array([1, 2]), "b": lambda: pa.array([3, 4])}))

    def plain(batch):
        return {name: list(values) for name, values in batch.items()}

    want = {"a": [1, 2], "b": [3, 4]}
    for convert in (dict, lambda b: {**b}, lambda b: (lambda **k: k)(**b), copy.deepcopy, lambda b: b.copy(),
                    lambda b: pickle.loads(pickle.dumps(b)), lambda b: b | {}, lambda b: {} | b):  # fmt: skip
        assert plain(convert(made())) == want
    batch = made()
    assert list(batch.pop("a")) == [1, 2] and list(batch) == ["b"] and "a" not in batch
    assert batch.get("zz", 5) == 5 and list(batch.setdefault("b", None)) == [3, 4]
    assert pd.DataFrame(made())["b"].tolist() == [3, 4]


def test_progress_is_published():
    from narke.data.execute.progress import running_datasets

    ds = ray.data.range(100, override_num_blocks=4).map_batches(lambda b: b)
    ds.set_name("shown in the dashboard")
    ds.materialize()
    (found,) = [d for d in running_datasets() if d["name"] == "shown in the dashboard"]
    assert found["state"] == "FINISHED" and found["operators"][-1]["rows"] == 100


def test_contexts():
    resources = ray.data.ExecutionResources(cpu=2, gpu=1)
    assert resources.add(resources).cpu == 4 and resources.scale(0.5).gpu == 0.5
    assert resources.satisfies_limit(ray.data.ExecutionResources.for_limits(cpu=2))
    assert not resources.satisfies_limit(ray.data.ExecutionResources.for_limits(gpu=0))
    own = ray.data.DataContext()
    with ray.data.DataContext.current(own):
        assert ray.data.DataContext.get_current() is own
    assert ray.data.DataContext.get_current() is not own
    options = ray.data.ExecutionOptions(exclude_resources=ray.data.ExecutionResources(cpu=1))
    options.resource_limits.cpu = 1
    with pytest.raises(ValueError, match="cpu"):
        options.validate()


def test_splits_that_keep_the_shares():
    frame = pd.DataFrame({"k": ["a"] * 80 + ["b"] * 20, "row": range(100)})
    train, test = ray.data.from_pandas(frame).train_test_split(0.25, stratify="k")
    assert test.to_pandas()["k"].value_counts().to_dict() == {"a": 20, "b": 5}
    rows = [*train.to_pandas()["row"], *test.to_pandas()["row"]]
    assert sorted(rows) == list(range(100))


@pytest.mark.parametrize("how", [{"seed": 1}, {"split_type": "hash", "hash_column": "id"}])
def test_splits_that_stream(how):
    train, test = ray.data.range(2000, override_num_blocks=5).streaming_train_test_split(0.3, **how)
    parts = [{r["id"] for r in part.take_all()} for part in (train, test)]
    assert parts[0] | parts[1] == set(range(2000)) and not parts[0] & parts[1]
    assert 500 < len(parts[1]) < 700


def test_near_names_are_suggested():
    ds = ray.data.from_items([{"price": 1, "name": "x"}])
    for run in (lambda: ds.sort("pric").take_all(), lambda: ds.select_columns(["pric"]).take_all(),
                lambda: ds.sum("pric"), lambda: ds.filter(expr="pric > 1").take_all()):  # fmt: skip
        with pytest.raises(Exception, match="did you mean 'price'"):
            run()
