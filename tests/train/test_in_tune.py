"""Trainers as trials of Tune."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import narke
from narke import train, tune
from narke.train import ScalingConfig
from narke.train.data_parallel_trainer import DataParallelTrainer

pytestmark = pytest.mark.usefixtures("cluster")


def loop(config):
    begun = train.get_checkpoint()
    start = int(Path(begun.path, "step").read_text()) + 1 if begun else 0
    rows = train.get_dataset_shard("train").materialize().count()
    for step in range(start, 3):
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "step").write_text(str(step))
            metrics = {
                "loss": config["rate"] * (10 - step),
                "size": train.get_context().get_world_size(),
                "rows": rows,
            }
            first = train.get_context().get_world_rank() == 0
            train.report(metrics, checkpoint=train.Checkpoint(folder) if first else None)


def test_trials_merge_their_configuration_and_keep_checkpoints(tmp_path: Path) -> None:
    trainer = DataParallelTrainer(
        loop,
        train_loop_config={"rate": 0},
        scaling_config=ScalingConfig(num_workers=1),
        datasets={"train": narke.data.range(12)},
    )
    space = {
        "train_loop_config": {"rate": tune.grid_search([1, 2])},
        "scaling_config": {"num_workers": 2},
    }
    grid = tune.Tuner(
        trainer,
        param_space=space,
        tune_config=tune.TuneConfig(metric="loss", mode="min"),
        run_config=tune.RunConfig(name="e", storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert grid.errors == []
    found = sorted((each.metrics["loss"], each.metrics["size"], each.metrics["rows"]) for each in grid)
    assert found == [(8, 2, 6), (16, 2, 6)]
    best = grid.get_best_result()
    assert best.checkpoint.path.startswith(best.path)
    assert Path(best.checkpoint.path, "step").read_text() == "2"
    assert best.metrics["training_iteration"] == 3


def test_a_failing_trial_begins_again_from_its_checkpoint(tmp_path: Path) -> None:
    def fails_once(config):
        begun = train.get_checkpoint()
        start = int(Path(begun.path, "step").read_text()) + 1 if begun else 0
        for step in range(start, 4):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "step").write_text(str(step))
                train.report({"step": step, "start": start}, checkpoint=train.Checkpoint(folder))
            if step == 1 and start == 0:
                raise RuntimeError("once")

    grid = tune.Tuner(
        DataParallelTrainer(fails_once, scaling_config=ScalingConfig(num_workers=1)),
        run_config=tune.RunConfig(
            name="e", storage_path=str(tmp_path), verbose=0, failure_config=tune.FailureConfig(max_failures=1)
        ),
    ).fit()
    assert (grid[0].metrics["step"], grid[0].metrics["start"]) == (3, 2)
