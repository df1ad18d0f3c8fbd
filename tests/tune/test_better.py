"""What Narke promises beyond Ray: processes that are shared, requests that cannot be met, the record for pages."""

import os
import shutil

import numpy as np
import pytest
from ray import tune

from narke.tune import _progress


def where(config):
    os.environ["LEFT_BEHIND"] = "yes"
    with open("here.txt", "w") as file:
        file.write("x")
    tune.report({"pid": os.getpid(), "cwd": os.getcwd()})


def test_trials_share_processes_but_not_what_they_change(fit):
    def looks(config):
        seen = os.environ.get("LEFT_BEHIND", "no")
        os.environ["LEFT_BEHIND"] = "yes"
        tune.report({"seen": seen, "cwd": os.getcwd()})

    grid = fit(looks, num_samples=6, max_concurrent_trials=1)
    assert len({result.metrics["pid"] for result in grid}) == 1
    assert {result.metrics["seen"] for result in grid} == {"no"}
    assert len({result.metrics["cwd"] for result in grid}) == 6


def test_a_failed_trial_costs_its_process_only(fit):
    def sometimes(config):
        if config["x"] == 2:
            os._exit(3)
        tune.report({"x": config["x"]})

    grid = fit(sometimes, {"x": tune.grid_search([1, 2, 3])}, max_concurrent_trials=1)
    assert grid.num_errors == 1 and grid.num_terminated == 2


def test_a_request_that_can_never_be_met_fails_with_its_reason(fit, monkeypatch):
    monkeypatch.setenv("TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", "0.2")
    monkeypatch.setenv("TUNE_INFEASIBLE_TRIAL_TIMEOUT_S", "1")
    grid = fit(tune.with_resources(where, {"cpu": 1000}))
    assert grid.num_errors == 1 and "CPU" in str(grid.errors[0])


def test_a_storage_that_cannot_be_written_is_refused(cluster, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(OSError, match="storage_path"):
        tune.run(where, storage_path=str(blocked / "below"), verbose=0)


def test_nan_is_no_best_value(fit):
    grid = fit(
        lambda config: {"loss": config["x"]},
        {"x": tune.grid_search([float("nan"), 2.0])},
        metric="loss",
        mode="min",
    )
    assert grid.get_best_result().metrics["loss"] == 2.0


def test_numbers_of_numpy_are_metrics(fit):
    grid = fit(
        lambda config: {"loss": np.float32(config["x"])},
        {"x": tune.grid_search([3, 1])},
        metric="loss",
        mode="min",
    )
    assert grid.get_best_result().config == {"x": 1}


def test_old_ways_to_report_work(fit):
    def old(config):
        tune.report(loss=0.5, accuracy=1)
        tune.report(3)

    metrics = fit(old)[0].metrics
    assert metrics["_metric"] == 3 and metrics["training_iteration"] == 2


def test_old_checkpoint_folders_work(cluster, tmp_path):
    def old(config, checkpoint_dir=None):
        start = 0
        if checkpoint_dir:
            with open(os.path.join(checkpoint_dir, "i")) as file:
                start = int(file.read()) + 1
        for i in range(start, 3):
            with tune.checkpoint_dir(step=i) as folder:
                with open(os.path.join(folder, "i"), "w") as file:
                    file.write(str(i))
            tune.report(i=i, start=start)
            if i == 1 and start == 0:
                raise RuntimeError("planned")

    analysis = tune.run(old, storage_path=str(tmp_path), max_failures=1, verbose=0, metric="i", mode="max")
    assert analysis.best_result["start"] == 2
    assert os.listdir(analysis.best_checkpoint.path) == ["i"]


def test_the_record_tells_pages_of_the_trials(fit):
    fit(where, run={"name": "for_pages"}, metric="pid", mode="max")
    record = next(each for each in _progress.experiments() if each["name"] == "for_pages")
    assert record["ended"] and record["counts"] == {"TERMINATED": 1}
    assert (record["metric"], record["mode"]) == ("pid", "max")
    (row,) = record["trials"]
    assert row["iteration"] == 1 and row["curve"][0][0] == 1


def test_event_files_are_what_tensorboard_reads(fit):
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def curve(config):
        for i in range(3):
            tune.report({"loss": i * 0.5, "sizes": [1.0, 2.0, 3.0]})

    result = fit(curve, {"x": tune.uniform(0, 1)})[0]
    reader = event_accumulator.EventAccumulator(result.path).Reload()
    assert [(event.step, event.value) for event in reader.Scalars("ray/tune/loss")] == [
        (1, 0.0),
        (2, 0.5),
        (3, 1.0),
    ]
    assert reader.Tags()["histograms"] == ["ray/tune/sizes"]


class _Trial:
    def __init__(self, trial_id):
        self.trial_id = trial_id


@pytest.mark.parametrize("kind", ["median_stopping_rule", "async_hyperband"])
def test_nan_is_the_worst_value_and_spoils_no_comparison(kind):
    scheduler = tune.schedulers.create_scheduler(
        kind, time_attr="t", metric="loss", mode="min", grace_period=1, min_samples_required=2, max_t=8
    )
    losses = {"c": 2.0, "e": 1.5, "a": float("nan"), "b": float("nan"), "d": 1.0}
    decisions = {}
    for time in (1, 2, 4):
        for name, loss in losses.items():
            trial = _Trial(name)
            scheduler.on_trial_add(None, trial)
            if decisions.get(name) != "STOP":
                decisions[name] = scheduler.on_trial_result(None, trial, {"t": time, "loss": loss})
    assert decisions["d"] == "CONTINUE" and "STOP" in (decisions["a"], decisions["b"])


def test_a_searcher_may_suggest_the_same_again(fit):
    class Same(tune.search.Searcher):
        def suggest(self, trial_id):
            return {"x": 1}

        def on_trial_complete(self, trial_id, result=None, error=False):
            pass

    grid = fit(
        lambda config: {"loss": config["x"]},
        search_alg=Same("loss", "min"),
        num_samples=4,
    )
    assert [result.metrics["loss"] for result in grid] == [1, 1, 1, 1]
    assert len({result.path for result in grid}) == 4


def test_a_syncer_of_the_program_copies_the_experiment(cluster, tmp_path, monkeypatch):
    from narke.tune.syncer import Syncer, get_node_to_storage_syncer

    class ByHand(Syncer):
        def sync_up(self, local_dir, remote_dir, exclude=None):
            self.failed = not hasattr(self, "failed")
            shutil.copytree(local_dir, remote_dir.replace("hand://", str(tmp_path)), dirs_exist_ok=True)
            self.last = (local_dir, remote_dir)
            return True

        def sync_down(self, remote_dir, local_dir, exclude=None):
            raise NotImplementedError

        def delete(self, remote_dir):
            raise NotImplementedError

        def wait(self):
            if getattr(self, "failed", False):
                raise OSError("once")

        def retry(self):
            self.failed = False
            self.sync_up(*self.last)

    syncer = ByHand()
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    config = tune.SyncConfig(upload_dir="hand:///there", syncer=syncer)
    tune.run(
        lambda config: {"x": 1}, name="e", storage_path=str(tmp_path / "here"), sync_config=config, verbose=0
    )
    assert list((tmp_path / "there" / "e").glob("*/result.json"))
    with pytest.raises(ValueError, match="upload_dir"):
        tune.run(lambda config: {"x": 1}, sync_config=tune.SyncConfig(syncer=syncer), verbose=0)
    auto = get_node_to_storage_syncer(tune.SyncConfig())
    assert auto.sync_up(str(tmp_path / "there"), str(tmp_path / "copy"), exclude=["*.csv"])
    assert not list((tmp_path / "copy").rglob("*.csv")) and list((tmp_path / "copy").rglob("result.json"))
    assert auto.delete(str(tmp_path / "copy")) and not (tmp_path / "copy").exists()
