"""Programs as they were written for Ray 2.0 to 2.4."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import narke
from narke import air, train
from narke.air import session
from narke.train.callbacks import JsonLoggerCallback, TrainingCallback

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_trainer_that_is_started_and_shut_down(tmp_path: Path) -> None:
    def loop(config):
        begun = train.load_checkpoint()
        for step in range(2):
            train.save_checkpoint(step=step)
            train.report(loss=config["x"] + step, rank=train.world_rank())
        return train.world_rank(), train.world_size(), train.local_rank(), begun

    class Ends(TrainingCallback):
        def __init__(self) -> None:
            self.seen: list = []

        def finish_training(self, error: bool = False, **info) -> None:
            self.seen.append(error)

    trainer = train.Trainer(backend=train.BackendConfig(), num_workers=2, logdir=str(tmp_path))
    trainer.start()
    ends, log = Ends(), JsonLoggerCallback(workers_to_log=1)
    returned = trainer.run(loop, config={"x": 1}, callbacks=[ends, log], checkpoint={"from": "before"})
    assert returned == [(rank, 2, rank, {"from": "before"}) for rank in range(2)]
    assert json.loads(log.log_path.read_text()) == [[{"loss": 1, "rank": 1}], [{"loss": 2, "rank": 1}]]
    assert trainer.latest_checkpoint == {"step": 1}
    assert ends.seen == [False]
    reports = trainer.run_iterator(loop, config={"x": 5})
    assert [metrics[0]["loss"] for metrics in reports] == [5, 6]
    assert reports.get_final_results()[1][0] == 1
    trainer.shutdown()


def test_objects_on_workers() -> None:
    class Counter:
        def __init__(self, start: int) -> None:
            self.value = start

        def add(self, more: int) -> int:
            self.value += more
            return self.value

    trainer = train.Trainer(train.BackendConfig(), num_workers=2)
    workers = trainer.to_worker_group(Counter, 10)
    assert narke.get([workers[rank].add.remote(rank) for rank in range(2)]) == [10, 11]
    assert narke.get(workers[1].add.remote(1)) == 12
    workers.shutdown()


def test_unknown_backends_are_refused() -> None:
    with pytest.raises(ValueError, match="torch"):
        train.Trainer("caffe", num_workers=1)


def test_the_session_of_the_air_time(tmp_path: Path) -> None:
    from narke.train.data_parallel_trainer import DataParallelTrainer

    def loop():
        last = session.get_checkpoint()
        rank = session.get_world_rank(), session.get_local_rank(), session.get_node_rank()
        values = {"rank": rank, "size": session.get_world_size(), "before": last.to_dict()["n"]}
        session.report(values, checkpoint=air.Checkpoint.from_dict({"n": 2}))
        assert session.get_trial_dir().startswith(str(tmp_path))
        assert session.get_experiment_name() == "old"

    result = DataParallelTrainer(
        loop,
        scaling_config=air.ScalingConfig(num_workers=1),
        run_config=air.RunConfig(name="old", local_dir=str(tmp_path)),
        resume_from_checkpoint=air.Checkpoint(data_dict={"n": 1}),
    ).fit()
    assert (result.metrics["before"], result.metrics["rank"]) == (1, (0, 0, 0))
    assert result.checkpoint.to_dict() == {"n": 2}
    assert str(result.log_dir) == result.path


def test_dataset_configs_say_what_is_split(tmp_path: Path) -> None:
    from narke.train.data_parallel_trainer import DataParallelTrainer

    def loop():
        train.report(
            {name: train.get_dataset_shard(name).materialize().count() for name in ("train", "a", "b")}
        )

    result = DataParallelTrainer(
        loop,
        scaling_config=air.ScalingConfig(num_workers=2),
        run_config=air.RunConfig(name="run", storage_path=str(tmp_path)),
        datasets={name: narke.data.range(8) for name in ("train", "a", "b")},
        dataset_config={"a": air.DatasetConfig(split=True), "b": air.DatasetConfig(split=False)},
    ).fit()
    assert [result.metrics[name] for name in ("train", "a", "b")] == [4, 4, 8]


def test_reading_as_a_training(tmp_path: Path, capfd) -> None:
    from narke.air.util.check_ingest import DummyTrainer

    config = air.RunConfig(name="run", storage_path=str(tmp_path))
    result = DummyTrainer(
        datasets={"train": narke.data.range(50)}, batch_size=10, num_epochs=2, run_config=config
    ).fit()
    assert (result.metrics["rows"], result.metrics["batches"]) == (100, 10)


def test_predictors_of_users() -> None:
    import pandas as pd

    from narke.train.batch_predictor import BatchPredictor
    from narke.train.predictor import Predictor, PredictorNotSerializableException

    batches = BatchPredictor.from_pandas_udf(lambda frame: frame * 2)
    assert sorted(batches.predict(narke.data.range(4)).to_pandas()["id"]) == [0, 2, 4, 6]
    predictor = Predictor.from_pandas_udf(lambda frame: frame + 1)
    assert predictor.predict(pd.DataFrame({"a": [1]}))["a"].tolist() == [2]
    with pytest.raises(PredictorNotSerializableException, match="from_checkpoint"):
        narke.put(predictor)


def test_backends_encode_what_is_reported(tmp_path: Path) -> None:
    from narke.train.data_parallel_trainer import DataParallelTrainer

    class Reverses(train.backend.Backend):
        @staticmethod
        def encode_data(data_dict: dict) -> dict:
            return {name: value[::-1] for name, value in data_dict.items()}

        @staticmethod
        def decode_data(encoded_data: dict) -> dict:
            return {name: f"<{value}>" for name, value in encoded_data.items()}

    class Config(train.backend.BackendConfig):
        @property
        def backend_cls(self) -> type:
            return Reverses

    result = DataParallelTrainer(
        lambda: train.report({"word": "abc"}),
        backend_config=Config(),
        scaling_config=air.ScalingConfig(num_workers=1),
        run_config=air.RunConfig(name="run", storage_path=str(tmp_path)),
    ).fit()
    assert result.metrics["word"] == "<cba>"
