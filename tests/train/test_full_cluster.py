"""Trainings whose workers hold every CPU of the cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import narke
from narke import train, tune
from narke.train import RunConfig, ScalingConfig
from narke.train.data_parallel_trainer import DataParallelTrainer


@pytest.fixture(scope="module", autouse=True)
def small_cluster() -> Iterator[None]:
    narke.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    narke.shutdown()


def count_rows() -> None:
    for _epoch in range(2):
        rows = sum(len(batch["id"]) for batch in train.get_dataset_shard("train").iter_batches(batch_size=8))
        train.report({"rows": rows, "size": train.get_context().get_world_size()})


def test_workers_with_all_cpus_get_their_data(tmp_path: Path) -> None:
    result = DataParallelTrainer(
        count_rows,
        scaling_config=ScalingConfig(num_workers=2),
        run_config=RunConfig(storage_path=str(tmp_path), name="r"),
        datasets={"train": narke.data.range(100).map_batches(lambda batch: batch)},
    ).fit()
    assert result.metrics["rows"] == 50


def test_trials_with_other_numbers_of_workers_follow_each_other(tmp_path: Path) -> None:
    trainer = DataParallelTrainer(
        count_rows,
        scaling_config=ScalingConfig(num_workers=1),
        datasets={"train": narke.data.range(100).map_batches(lambda batch: batch)},
    )
    grid = tune.Tuner(
        trainer,
        param_space={"scaling_config": {"num_workers": tune.grid_search([1, 2, 1, 3, 2])}},
        run_config=tune.RunConfig(name="e", storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert [each.metrics and each.metrics.get("size") for each in grid] == [1, 2, 1, {}, 2]
    assert "3 are needed" in str(grid.errors[0])


def test_an_elastic_trial_takes_what_fits(tmp_path: Path) -> None:
    grid = tune.Tuner(
        DataParallelTrainer(
            lambda: train.report({"size": train.get_context().get_world_size()}),
            scaling_config=ScalingConfig(num_workers=(1, 8)),
        ),
        run_config=tune.RunConfig(name="e", storage_path=str(tmp_path), verbose=0),
    ).fit()
    assert grid.errors == [] and grid[0].metrics["size"] == 2
