"""Deaths in the middle of things: a node, a rank that stores a checkpoint, the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import narke
from narke import train
from narke.cluster_utils import Cluster
from narke.train import Checkpoint, FailureConfig, RunConfig, ScalingConfig
from narke.train.data_parallel_trainer import DataParallelTrainer


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head without CPUs, and two nodes with one each."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.connect()
    yield cluster
    narke.shutdown()
    cluster.shutdown()


def fit(loop, storage: Path, workers, failures: int = 0, config: dict | None = None):
    scaling = workers if isinstance(workers, ScalingConfig) else ScalingConfig(num_workers=workers)
    return DataParallelTrainer(
        loop,
        train_loop_config=config,
        scaling_config=scaling,
        run_config=RunConfig(
            name="run", storage_path=str(storage), failure_config=FailureConfig(max_failures=failures)
        ),
    ).fit()


def save(step: int, **metrics: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "step").write_text(str(step))
        train.report({"step": step, **metrics}, checkpoint=Checkpoint.from_directory(folder))


def next_step() -> int:
    last = train.get_checkpoint()
    return int(Path(last.path, "step").read_text()) + 1 if last else 0


def wait_for(condition, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.02)


def test_a_run_shrinks_when_a_node_dies_and_grows_when_one_comes(nodes: Cluster, tmp_path: Path) -> None:
    def loop(config):
        size = train.get_context().get_world_size()
        for step in range(next_step(), 600):
            save(step, size=size)
            if Path(config["folder"], "grown").exists() and size == 2:
                return
            if size == 1:
                Path(config["folder"], "shrunk").touch()
            elif train.get_context().get_world_rank() == 0:
                Path(config["folder"], "two").touch()
            time.sleep(0.05)

    def change_nodes() -> None:
        wait_for((tmp_path / "two").exists)
        wait_for(lambda: any((tmp_path / "run").glob("checkpoint_*")))  # both ranks' reports are there
        victim = nodes.worker_nodes[0]
        victim.kill()
        nodes.worker_nodes.remove(victim)
        wait_for((tmp_path / "shrunk").exists, 60)
        (tmp_path / "grown").touch()
        nodes.add_node(num_cpus=1)

    import threading

    changes = threading.Thread(target=change_nodes)
    changes.start()
    scaling = ScalingConfig(num_workers=(1, 2), elastic_resize_monitor_interval_s=0.3)
    result = fit(loop, tmp_path, scaling, failures=3, config={"folder": str(tmp_path)})
    changes.join()
    sizes = list(dict.fromkeys(result.metrics_dataframe["size"]))
    assert sizes == [2, 1] and result.metrics["size"] == 2
    steps = list(result.metrics_dataframe["step"])
    assert steps == sorted(set(steps)), "a step that was reported ran again"


def test_a_rank_that_dies_while_it_stores_a_checkpoint_leaves_the_former_one(
    nodes: Cluster, tmp_path: Path
) -> None:
    def dies(checkpoint: Checkpoint, name: str) -> Checkpoint:
        target = tmp_path / "run" / ".staging" / name
        target.mkdir(parents=True)
        (target / "half").write_text("x")
        os._exit(1)

    def loop():
        start = next_step()
        for step in range(start, 4):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "step").write_text(str(step))
                made = Checkpoint.from_directory(folder)
                fails = step == 2 and start == 0
                train.report(
                    {"step": step, "start": start},
                    checkpoint=made,
                    checkpoint_upload_fn=dies if fails else None,
                )

    result = fit(loop, tmp_path, 1, failures=1)
    assert result.metrics == {"step": 3, "start": 2}
    assert not list((tmp_path / "run").glob("**/half"))


def test_a_collective_call_without_a_rank_that_has_returned_is_an_error(
    nodes: Cluster, tmp_path: Path
) -> None:
    def loop():
        if train.get_context().get_world_rank() == 0:
            train.collective.barrier()

    with pytest.raises(train.WorkerGroupError, match="rank 1, whose function has returned"):
        fit(loop, tmp_path, 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_full_disk_leaves_the_former_checkpoint_and_says_what_is_full(
    nodes: Cluster, small_disk: Path
) -> None:
    def loop():
        for step, size in enumerate((1_000, 8_000_000)):
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "step").write_text(str(step))
                Path(folder, "weights").write_bytes(b"x" * size)
                train.report({"step": step}, checkpoint=Checkpoint.from_directory(folder))
                train.get_checkpoint()

    with pytest.raises(train.TrainingFailedError, match="No space left"):
        fit(loop, small_disk, 1)
    stored = train.Result.from_path(str(small_disk / "run"))
    with stored.checkpoint.as_directory() as folder:
        assert Path(folder, "step").read_text() == "0"
        assert Path(folder, "weights").stat().st_size == 1_000
    assert sum(each.stat().st_size for each in small_disk.rglob("*") if each.is_file()) < 1_000_000
