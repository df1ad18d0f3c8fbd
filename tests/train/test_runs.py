"""Runs of real workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

import narke
from narke import train
from narke.train import (
    Checkpoint,
    CheckpointConfig,
    CheckpointUploadMode,
    FailureConfig,
    RunConfig,
    ScalingConfig,
)
from narke.train.data_parallel_trainer import DataParallelTrainer

pytestmark = pytest.mark.usefixtures("cluster")


def run(loop, storage: Path, workers=2, config=None, trainer=DataParallelTrainer, scaling=None, **more):
    settings = {name: more.pop(name) for name in list(more) if name in RunConfig.__dataclass_fields__}
    run_config = RunConfig(**{"name": "run", "storage_path": str(storage), **settings})
    return trainer(
        loop,
        train_loop_config=config,
        scaling_config=scaling or ScalingConfig(num_workers=workers),
        run_config=run_config,
        **more,
    ).fit()


def save(value: object, metrics: dict, **options: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, f"rank{train.get_context().get_world_rank()}").write_text(str(value))
        train.report(metrics, checkpoint=Checkpoint.from_directory(folder), **options)


def read(checkpoint: Checkpoint, rank: int = 0) -> str:
    with checkpoint.as_directory() as folder:
        return Path(folder, f"rank{rank}").read_text()


def test_all_ranks_train_and_rank_zero_is_reported(tmp_path: Path) -> None:
    def loop(config):
        context = train.get_context()
        for step in range(3):
            train.report({"step": step, "rank": context.get_world_rank(), "size": context.get_world_size()})
        return config["x"] + context.get_world_rank()

    result = run(loop, tmp_path, config={"x": 5})
    assert result.metrics == {"step": 2, "rank": 0, "size": 2}
    assert list(result.metrics_dataframe["step"]) == [0, 1, 2]
    assert (result.return_value, result.error, result.checkpoint) == (5, None, None)
    assert result.path == str(tmp_path / "run")


def test_checkpoints_of_all_ranks_are_one_and_the_best_are_kept(tmp_path: Path) -> None:
    def loop():
        for score in (1, 9, 5, 3):
            save(score, {"score": score})
            assert read(train.get_checkpoint()) == str(score)

    config = CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="score")
    result = run(loop, tmp_path, checkpoint_config=config)
    assert [read(result.checkpoint, rank) for rank in range(2)] == ["3", "3"]
    assert [metrics["score"] for _, metrics in result.best_checkpoints] == [3, 5, 9]
    assert len([p for p in Path(result.path).iterdir() if p.is_dir()]) == 3
    assert read(result.get_best_checkpoint("score", "max")) == "9"
    assert read(train.Result.from_path(result.path).checkpoint) == "3"


def test_upload_modes(tmp_path: Path) -> None:
    def loop(config):
        folder = tempfile.mkdtemp()
        Path(folder, "rank0").write_text("later")
        train.report(
            {"n": 0}, checkpoint=Checkpoint(folder), checkpoint_upload_mode=CheckpointUploadMode.ASYNC
        )
        assert read(train.get_checkpoint()) == "later"
        assert not os.path.exists(folder)
        own = Path(config["own"])
        own.mkdir()
        (own / "rank0").write_text("own")
        train.report(
            {"n": 1}, checkpoint=Checkpoint(own), checkpoint_upload_mode=CheckpointUploadMode.NO_UPLOAD
        )
        save("named", {"n": 2}, checkpoint_dir_name="mine")
        found = train.get_all_reported_checkpoints()
        return [(each.metrics["n"], read(each.checkpoint)) for each in found]

    result = run(loop, tmp_path, workers=1, config={"own": str(tmp_path / "own")})
    assert result.return_value == [(0, "later"), (1, "own"), (2, "named")]
    assert result.checkpoint.path == str(tmp_path / "run" / "mine")


def test_metrics_are_as_they_were_when_reported(tmp_path: Path) -> None:
    def loop():
        metrics = {"values": [1]}
        for _ in range(50):
            train.report(metrics)
            metrics["values"].append(len(metrics["values"]))

    assert len(run(loop, tmp_path, workers=1).metrics["values"]) == 50


def test_collective_calls(tmp_path: Path) -> None:
    def loop():
        rank = train.get_context().get_world_rank()
        train.collective.barrier()
        return train.collective.broadcast_from_rank_zero({"from": rank}) | {"rank": rank}

    assert run(loop, tmp_path).return_value == {"from": 0, "rank": 0}


def test_an_error_names_rank_and_place(tmp_path: Path) -> None:
    def loop():
        if train.get_context().get_world_rank() == 1:
            raise ValueError("no such layer")
        time.sleep(100)

    with pytest.raises(
        train.WorkerGroupError, match=r"rank 1 failed with ValueError: no such layer"
    ) as caught:
        run(loop, tmp_path)
    assert "in loop" in str(caught.value)
    assert isinstance(caught.value.worker_failures[1], ValueError)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_killed_rank_ends_the_run_at_once_and_it_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def loop(config):
        rank = train.get_context().get_world_rank()
        last = train.get_checkpoint()
        start = int(read(last, rank)) + 1 if last else 0
        for step in range(start, 6):
            save(step, {"step": step, "started": start})
            if step == 3 and start == 0:
                train.collective.barrier()
                if rank == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                train.collective.barrier()  # rank 1 never comes

    began = time.monotonic()
    result = run(loop, tmp_path, failure_config=FailureConfig(max_failures=1))
    assert result.metrics == {"step": 5, "started": 4}
    assert time.monotonic() - began < 60


def test_a_run_goes_on_in_another_driver(tmp_path: Path) -> None:
    program = f"""
import narke, os, sys, tempfile
sys.path.insert(0, {str(Path(__file__).parent)!r})
from narke import train
from narke.train.data_parallel_trainer import DataParallelTrainer
def loop():
    last = train.get_checkpoint()
    start = int(open(last.path + "/step").read()) + 1 if last else 0
    for step in range(start, 5):
        with tempfile.TemporaryDirectory() as folder:
            open(folder + "/step", "w").write(str(step))
            train.report({{"step": step, "start": start}}, checkpoint=train.Checkpoint(folder))
        train.get_checkpoint()
        if step == 2 and start == 0:
            os.kill({{driver}}, 9)
            import time; time.sleep(60)
narke.init(num_cpus=2, include_dashboard=False, log_to_driver=False)

code = loop
result = DataParallelTrainer(loop, run_config=train.RunConfig(name="again", storage_path={str(tmp_path)!r})).fit()
print(result.metrics)
"""
    program = program.replace("{driver}", f"int(open({str(tmp_path / 'pid')!r}).read())")
    program = f"import os; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n" + program
    first = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert first.returncode == -signal.SIGKILL, first.stderr
    second = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=100)
    assert second.stdout.strip().endswith("{'step': 4, 'start': 3}"), second.stderr


def test_unfinished_files_of_an_earlier_attempt_are_no_checkpoint(tmp_path: Path) -> None:
    def loop():
        assert train.get_checkpoint() is None
        save("done", {"a": 1})

    (tmp_path / "run" / ".staging" / "checkpoint_x").mkdir(parents=True)
    result = run(loop, tmp_path, workers=1)
    assert read(result.checkpoint) == "done"
    assert not (tmp_path / "run" / ".staging").exists()


def test_a_checkpoint_that_cannot_be_stored_leaves_the_former_one(tmp_path: Path) -> None:
    def loop():
        save("good", {"n": 0})
        train.get_checkpoint()
        train.report({"n": 1}, checkpoint=Checkpoint("/nonexistent/folder"))

    with pytest.raises(train.TrainingFailedError, match="could not be stored"):
        run(loop, tmp_path, workers=1)
    stored = train.Result.from_path(str(tmp_path / "run"))
    assert read(stored.checkpoint) == "good"
    assert "could not be stored" in str(stored.error)


def test_workers_that_never_fit_are_an_error_that_says_so(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(train.ControllerError, match=r"9 workers.*do not fit.*num_workers"):
        run(lambda: None, tmp_path, workers=9)
    assert time.monotonic() - began < 60


def test_elastic_runs_take_what_there_is(tmp_path: Path) -> None:
    @narke.remote(num_cpus=5)
    class Holder:
        def ready(self) -> bool:
            return True

    holder = Holder.remote()
    narke.get(holder.ready.remote())

    def loop():
        for step in range(200):
            save(step, {"size": train.get_context().get_world_size()})
            if train.get_context().get_world_size() == 4:
                return
            time.sleep(0.1)
            if step == 3 and train.get_context().get_world_rank() == 0:
                narke.kill(narke.get_actor("holder"))

    narke.kill(holder)
    holder = Holder.options(name="holder").remote()
    narke.get(holder.ready.remote())
    scaling = ScalingConfig(num_workers=(1, 4), elastic_resize_monitor_interval_s=0.2)
    result = run(loop, tmp_path, scaling=scaling)
    sizes = list(result.metrics_dataframe["size"])
    assert (sizes[0], sizes[-1]) == (3, 4)


def test_datasets_are_split_or_whole(tmp_path: Path) -> None:
    def loop():
        rank = train.get_context().get_world_rank()
        own = sorted(row["id"] for row in train.get_dataset_shard("train").iter_rows())
        whole = sum(1 for _ in train.get_dataset_shard("test").iter_rows())
        with pytest.raises(KeyError, match="'train'"):
            train.get_dataset_shard("other")
        train.report({"rank": rank, "own": own, "whole": whole})
        save(json.dumps(own), {"own": own, "whole": whole})

    data = {"train": narke.data.range(20), "test": narke.data.range(7)}
    result = run(loop, tmp_path, datasets=data, dataset_config=train.DataConfig(datasets_to_split=["train"]))
    parts = [json.loads(read(result.checkpoint, rank)) for rank in range(2)]
    assert [len(part) for part in parts] == [10, 10]
    assert sorted(parts[0] + parts[1]) == list(range(20))
    assert result.metrics["whole"] == 7


class _Seen(train.UserCallback):
    def __init__(self) -> None:
        self.reports: list = []
        self.errors: list = []

    def after_report(self, run_context, metrics, checkpoint) -> None:
        self.reports.append((run_context.run_config.name, [each["rank"] for each in metrics], checkpoint))

    def after_exception(self, run_context, worker_exceptions) -> None:
        self.errors.append(worker_exceptions)


def test_callbacks(tmp_path: Path) -> None:
    def loop():
        train.report({"rank": train.get_context().get_world_rank()})
        train.collective.barrier()
        raise KeyError("x")

    seen = _Seen()
    with pytest.raises(train.TrainingFailedError):
        run(loop, tmp_path, callbacks=[seen])
    assert seen.reports == [("run", [0, 1], None)]
    assert isinstance(next(iter(seen.errors[0].values())), KeyError)


def test_validation_beside_the_training(tmp_path: Path) -> None:
    def validate(checkpoint, factor):
        if read(checkpoint) == "bad":
            raise ValueError("bad checkpoint")
        return {"validated": int(read(checkpoint)) * factor}

    def loop():
        save(2, {"n": 0}, validation=True)
        save("bad", {"n": 1}, validation=True)
        return [(each.status.name, each.metrics) for each in train.get_all_reported_checkpoints()]

    config = train.ValidationConfig(validate, train.ValidationTaskConfig({"factor": 10}))
    result = run(loop, tmp_path, workers=1, validation_config=config)
    assert [metrics.get("validated") for _, metrics in result.best_checkpoints] == [20, None]


def test_no_workers_run_the_function_here(tmp_path: Path) -> None:
    def loop():
        train.report({"pid": os.getpid(), "size": train.get_context().get_world_size()})

    result = run(loop, tmp_path, workers=0)
    assert result.metrics == {"pid": os.getpid(), "size": 1}


def test_calls_outside_of_a_function(tmp_path: Path) -> None:
    assert train.get_context().get_world_size() == 1
    assert train.get_checkpoint() is None
    with pytest.raises(RuntimeError, match="training function"):
        train.report({})


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="2 arguments"):
        DataParallelTrainer(lambda a, b: None)
    with pytest.raises(ValueError, match="train_loop_config"):
        DataParallelTrainer(lambda c: None, train_loop_config=3)
    with pytest.raises(TypeError, match="scaling_config"):
        DataParallelTrainer(lambda: None, scaling_config=3)
    with pytest.raises(TypeError, match="num_wrokers"):
        DataParallelTrainer(lambda: None, scaling_config={"num_wrokers": 2})
    with pytest.raises(ValueError, match="Dataset"):
        DataParallelTrainer(lambda: None, datasets={"train": 3})


def test_progress_is_in_the_clusters_store(tmp_path: Path) -> None:
    from narke.experimental.internal_kv import _internal_kv_get, _internal_kv_list

    def loop():
        train.report({"loss": 0.5})

    run(loop, tmp_path, name="watched")
    keys = _internal_kv_list(b"run:", namespace=b"train")
    states = [json.loads(_internal_kv_get(key, namespace=b"train")) for key in keys]
    (state,) = [each for each in states if each["name"] == "watched"]
    assert (state["status"], state["reports"], state["world_size"]) == ("FINISHED", 1, 2)
    assert state["curves"] == {"loss": [[0, 0.5]]}


def test_first_generation_fills_metrics_and_writes_files(tmp_path: Path) -> None:
    from narke import air

    def loop(config):
        last = train.get_checkpoint()
        start = int(read(last)) + 1 if last else 0
        for step in range(start, 4):
            save(step, {"step": step})
            train.get_checkpoint()
            if step == 1 and config["fails"]:
                raise RuntimeError("stop here")

    config = air.RunConfig(name="old", storage_path=str(tmp_path))
    trainer = DataParallelTrainer(loop, train_loop_config={"fails": True}, run_config=config)
    with pytest.raises(train.TrainingFailedError):
        trainer.fit()
    assert DataParallelTrainer.can_restore(str(tmp_path / "old"))
    again = DataParallelTrainer.restore(str(tmp_path / "old"), train_loop_config={"fails": False})
    result = again.fit()
    assert (result.metrics["step"], result.metrics["training_iteration"]) == (3, 4)
    assert result.checkpoint.path.endswith("checkpoint_000003")
    stored = air.Result.from_path(result.path)
    assert list(stored.metrics_dataframe["step"]) == [0, 1, 2, 3]
    assert {"result.json", "progress.csv", "params.json"} <= set(os.listdir(result.path))
    with pytest.raises(ValueError, match="no run to restore"):
        DataParallelTrainer.restore(str(tmp_path))


def test_stop_criterion_ends_the_run_exactly(tmp_path: Path) -> None:
    def loop():
        for step in range(1000):
            train.report({"step": step})

    assert run(loop, tmp_path, stop={"step": 7}).metrics["step"] == 7
