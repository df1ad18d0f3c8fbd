"""Configurations, checkpoints, results and storage: what Train and Tune share."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest

from narke import air, cloudpickle, train
from narke.train import _snapshot, _storage


def test_importing_train_loads_no_framework(run_python) -> None:
    code = "import sys, narke.train, narke.air; print(any(m in sys.modules for m in ('torch', 'pyarrow', 'pandas')))"
    assert run_python(code) == "False"


@pytest.mark.parametrize("package", [train, air])
def test_scaling_counts_resources(package) -> None:
    scaling = package.ScalingConfig(num_workers=2, use_gpu=True, resources_per_worker={"CPU": 3, "x": 1})
    assert scaling.total_resources == {"CPU": 7 if package is air else 6, "GPU": 2, "x": 2}
    assert (scaling.num_cpus_per_worker, scaling.num_gpus_per_worker) == (3, 1)
    assert scaling.additional_resources_per_worker == {"x": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: air.ScalingConfig(resources_per_worker={"GPU": 1}),
        lambda: air.CheckpointConfig(num_to_keep=0),
        lambda: air.CheckpointConfig(checkpoint_score_order="best"),
        lambda: air.CheckpointConfig(checkpoint_frequency=-1),
        lambda: air.FailureConfig(fail_fast="soon"),
        lambda: air.FailureConfig(fail_fast=True, max_failures=1),
        lambda: train.CheckpointConfig(num_to_keep=-2),
        lambda: train.ScalingConfig(num_workers=(3, 2)),
        lambda: train.ScalingConfig(num_workers=-1),
        lambda: train.ScalingConfig(num_workers=2, label_selector=[{"a": "b"}]),
        lambda: train.LoggingConfig(log_level="LOUD"),
    ],
)
def test_wrong_configurations_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match=r"Config"):
        wrong()


def test_elastic_range() -> None:
    scaling = train.ScalingConfig(num_workers=(1, 4))
    assert (scaling.elasticity_enabled, scaling.min_workers, scaling.max_workers) == (True, 1, 4)
    assert not train.ScalingConfig(num_workers=4).elasticity_enabled


def test_old_names_of_the_storage(tmp_path: Path) -> None:
    assert air.RunConfig(local_dir=str(tmp_path)).storage_path == str(tmp_path)
    assert air.RunConfig(sync_config=train.SyncConfig(upload_dir="s3://b")).storage_path == "s3://b"
    assert air.RunConfig(storage_path=tmp_path).storage_path == str(tmp_path)
    assert (
        repr(air.RunConfig(name="n", storage_path="/s"))
        == "RunConfig(name='n', storage_path='/s', verbose=1)"
    )


def test_checkpoint_moves_between_folders_and_filesystems(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "x.txt").write_text("hello")
    checkpoint = train.Checkpoint.from_directory(tmp_path / "in")
    checkpoint.set_metadata({"a": 1})
    checkpoint.update_metadata({"b": 2})
    copy = train.Checkpoint(checkpoint.to_uri("memory://there/c"))
    assert copy.get_metadata() == {"a": 1, "b": 2}
    with copy.as_directory() as folder:
        assert Path(folder, "deep", "x.txt").read_text() == "hello"
    assert not os.path.exists(folder)
    with checkpoint.as_directory() as folder:
        assert folder == str(tmp_path / "in")
    assert Path(copy.to_directory(tmp_path / "out"), "deep", "x.txt").read_text() == "hello"
    assert pickle.loads(pickle.dumps(checkpoint)) == checkpoint


def test_missing_checkpoint_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        train.Checkpoint(tmp_path / "nowhere").to_directory(tmp_path / "out")


def test_checkpoints_of_the_air_time() -> None:
    checkpoint = air.Checkpoint.from_dict({"step": 3, "_preprocessor": "scale"})
    assert checkpoint.to_dict()["step"] == 3
    assert checkpoint.get_preprocessor() == "scale"
    again = air.Checkpoint.from_bytes(checkpoint.to_bytes())
    assert again.to_dict() == checkpoint.to_dict()
    again.set_preprocessor({"other": 1})
    assert again.get_preprocessor() == {"other": 1}
    assert air.Checkpoint.from_uri(checkpoint.uri).to_dict()["step"] == 3
    assert cloudpickle.loads(cloudpickle.dumps(checkpoint)).path == checkpoint.path


def test_storage_on_an_fsspec_filesystem() -> None:
    import fsspec

    storage = _storage.StorageContext(
        "bucket/dir", "exp", storage_filesystem=fsspec.filesystem("memory"), trial_dir_name="t"
    )
    storage.current_checkpoint_index = 4
    kept = storage.persist_current_checkpoint(air.Checkpoint.from_dict({"a": 1}))
    assert kept.path == "bucket/dir/exp/t/checkpoint_000004"
    assert kept.to_dict() == {"a": 1}


def test_unwritable_storage_says_what_to_do() -> None:
    storage = _storage.StorageContext("/proc/none", "exp", trial_dir_name="t")
    with pytest.raises(OSError, match="storage_path"):
        storage.persist_current_checkpoint(air.Checkpoint.from_dict({}))


def test_unknown_scheme_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="storage_filesystem="):
        _storage.filesystem_and_path("nosuchthing://x/y")


def test_writing_in_one_piece_keeps_the_old_file_on_failure(tmp_path: Path, monkeypatch) -> None:
    filesystem, path = _storage.filesystem_and_path(tmp_path / "f")
    _storage.write_bytes(filesystem, path, b"old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        _storage.write_bytes(filesystem, path, b"new")
    assert _storage.read_bytes(filesystem, path) == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_result_of_a_stored_trial(tmp_path: Path) -> None:
    rows = [
        {"loss": 2 - i, "training_iteration": i + 1, "checkpoint_dir_name": f"checkpoint_{i:06d}"}
        for i in range(2)
    ]
    (tmp_path / "result.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "params.json").write_text('{"lr": 0.1}')
    for row in rows:
        (tmp_path / row["checkpoint_dir_name"]).mkdir()
    result = air.Result.from_path(str(tmp_path))
    assert (result.metrics["loss"], result.config, result.error) == (1, {"lr": 0.1}, None)
    assert result.checkpoint.path.endswith("checkpoint_000001")
    assert result.get_best_checkpoint("loss", "max").path.endswith("checkpoint_000000")
    assert list(result.metrics_dataframe["loss"]) == [2, 1]
    with pytest.raises(RuntimeError, match="nothing"):
        result.get_best_checkpoint("nothing", "max")


def test_result_of_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no results"):
        air.Result.from_path(str(tmp_path))
    with pytest.raises(RuntimeError, match="does not exist"):
        train.Result.from_path(str(tmp_path / "none"))


def test_snapshot_round_trip_with_odd_metrics(tmp_path: Path) -> None:
    import numpy as np

    filesystem, folder = _storage.filesystem_and_path(tmp_path)
    entry = _snapshot.Entry("checkpoint_1", {"loss": np.float32(0.5), "bad": float("nan"), "o": object})
    _snapshot.save(_snapshot.Snapshot([entry], entry, reports=3), filesystem, folder)
    back = _snapshot.load(filesystem, folder)
    assert back.reports == 3
    assert back.latest_checkpoint_result.metrics["loss"] == 0.5
    assert back.checkpoint_results[0].metrics["bad"] != back.checkpoint_results[0].metrics["bad"]
    assert train.Result.from_path(folder).checkpoint.path == f"{folder}/checkpoint_1"


def test_damaged_snapshot_is_named(tmp_path: Path) -> None:
    (tmp_path / _snapshot.FILE).write_text("{")
    with pytest.raises(ValueError, match=_snapshot.FILE):
        train.Result.from_path(str(tmp_path))
