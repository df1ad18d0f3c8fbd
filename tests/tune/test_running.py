"""Running trials: what programs see of results, failures, checkpoints and old calls."""

import json
import os
import tempfile

import pytest
import ray
from ray import tune
from ray.tune import Checkpoint


def reports_three(config):
    for i in range(3):
        tune.report({"loss": config["x"] + 1 / (i + 1), "nested": {"i": i}})


def test_results_hold_metrics_and_what_is_filled_in(fit):
    grid = fit(reports_three, {"x": tune.grid_search([1, 2])}, metric="loss", mode="min")
    assert len(grid) == 2 and not grid.errors and grid.num_terminated == 2
    best = grid.get_best_result()
    assert best.config == {"x": 1} and best.metrics["nested"] == {"i": 2}
    assert best.metrics["training_iteration"] == 3 and best.metrics["done"] is True
    for (
        key
    ) in "timestamp date pid hostname node_ip time_total_s time_this_iter_s trial_id experiment_tag".split():
        assert key in best.metrics
    assert best.metrics_dataframe["nested/i"].tolist() == [0, 1, 2]
    frame = grid.get_dataframe()
    assert sorted(frame["config/x"]) == [1, 2] and len(frame) == 2


def test_trials_leave_their_files(fit):
    result = fit(reports_three, {"x": 5})[0]
    names = set(os.listdir(result.path))
    assert {"result.json", "progress.csv", "params.json", "params.pkl"} <= names
    with open(os.path.join(result.path, "result.json")) as file:
        rows = [json.loads(line) for line in file]
    assert [row["training_iteration"] for row in rows] == [1, 2, 3]
    assert os.path.basename(result.path).startswith("reports_three_")


def test_what_a_function_returns_is_its_last_report(fit):
    assert fit(lambda config: {"score": 3})[0].metrics["score"] == 3
    assert fit(lambda config: 4)[0].metrics["_metric"] == 4


def makes_checkpoints(config):
    start = 0
    checkpoint = tune.get_checkpoint()
    if checkpoint:
        with checkpoint.as_directory() as folder, open(os.path.join(folder, "i")) as file:
            start = int(file.read()) + 1
    for i in range(start, 4):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "i"), "w") as file:
                file.write(str(i))
            tune.report({"i": i, "started": start}, checkpoint=Checkpoint.from_directory(folder))
        if config.get("fail_at") == i and start == 0:
            raise RuntimeError("planned")


def test_checkpoints_are_kept_by_score(fit):
    keep = tune.CheckpointConfig(num_to_keep=2, checkpoint_score_attribute="i", checkpoint_score_order="max")
    result = fit(makes_checkpoints, run={"checkpoint_config": keep})[0]
    assert [metrics["i"] for _, metrics in result.best_checkpoints] == [2, 3]
    kept = sorted(name for name in os.listdir(result.path) if name.startswith("checkpoint_"))
    assert kept == ["checkpoint_000002", "checkpoint_000003"]
    with result.checkpoint.as_directory() as folder, open(os.path.join(folder, "i")) as file:
        assert file.read() == "3"


def test_a_failed_trial_goes_on_from_its_checkpoint(fit):
    result = fit(
        makes_checkpoints, {"fail_at": 1}, run={"failure_config": tune.FailureConfig(max_failures=1)}
    )[0]
    assert result.error is None
    assert result.metrics["started"] == 2 and result.metrics["training_iteration"] == 4


def fails(config):
    tune.report({"loss": 1})
    if config["x"] == 1:
        raise ValueError("boom")


def test_errors_are_in_the_results(fit):
    grid = fit(fails, {"x": tune.grid_search([0, 1])}, metric="loss", mode="min")
    assert grid.num_errors == 1 and grid.num_terminated == 1
    assert "boom" in str(grid.errors[0])
    failed = next(result for result in grid if result.error)
    with open(os.path.join(failed.path, "error.txt")) as file:
        assert "ValueError: boom" in file.read()


def test_tune_run_raises_for_failed_trials(cluster, tmp_path):
    with pytest.raises(tune.TuneError, match="Trials did not complete"):
        tune.run(fails, config={"x": 1}, storage_path=str(tmp_path), verbose=0)


def test_fail_fast_can_raise_the_error(fit):
    with pytest.raises(Exception, match="boom"):
        fit(fails, {"x": 1}, run={"failure_config": tune.FailureConfig(fail_fast="raise")})


def test_a_missing_metric_is_named_with_what_was_reported(cluster, tmp_path):
    with pytest.raises(tune.TuneError, match="nope") as raised:
        tune.run(
            reports_three, config={"x": 1}, metric="nope", mode="min", storage_path=str(tmp_path), verbose=0
        )
    assert "loss" in str(raised.value)


class Counter(tune.Trainable):
    def setup(self, config):
        self.value = config.get("start", 0)

    def step(self):
        self.value += 1
        return {"value": self.value}

    def save_checkpoint(self, checkpoint_dir):
        return {"value": self.value}

    def load_checkpoint(self, checkpoint):
        self.value = checkpoint["value"]

    def reset_config(self, new_config):
        self.setup(new_config)
        return True


def test_a_class_runs_to_its_criterion_and_makes_checkpoints(fit):
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=2, checkpoint_at_end=True)
    result = fit(
        Counter, {"start": 10}, run={"stop": {"training_iteration": 5}, "checkpoint_config": checkpoints}
    )[0]
    assert result.metrics["value"] == 15
    assert [metrics["value"] for _, metrics in result.best_checkpoints] == [12, 14, 15]


def test_the_last_result_has_a_checkpoint_when_it_is_due(fit):
    checkpoints = tune.CheckpointConfig(checkpoint_frequency=2)
    result = fit(Counter, {}, run={"stop": {"training_iteration": 4}, "checkpoint_config": checkpoints})[0]
    assert [metrics["value"] for _, metrics in result.best_checkpoints] == [2, 4]


def test_a_stopper_finds_nested_values_and_the_configuration(fit):
    def objective(config):
        for number in range(5):
            tune.report({"a": {"b": number}})

    def is_over(trial_id, result):
        assert result["a/b"] == result["a"]["b"]
        return result["a"]["b"] >= result["config"]["top"]

    assert fit(objective, {"top": 2}, run={"stop": is_over})[0].metrics["a"]["b"] == 2


def test_a_result_is_printed_with_what_the_program_reported(fit):
    text = repr(fit(Counter, {}, run={"stop": {"training_iteration": 1}}).get_best_result())
    assert text.splitlines()[:2] == ["Result(", "  metrics={'value': 1},"]
    assert "training_iteration" not in text and "filesystem='local'" in text


def test_classes_can_share_an_actor(fit):
    grid = fit(
        Counter,
        {"start": tune.grid_search([0, 100])},
        run={"stop": {"training_iteration": 2}},
        reuse_actors=True,
        max_concurrent_trials=1,
    )
    assert sorted(result.metrics["value"] for result in grid) == [2, 102]
    assert len({result.metrics["pid"] for result in grid}) == 1


def test_stop_takes_functions_stoppers_and_lists(fit):
    def at_two(trial_id, result):
        return result["value"] >= 2

    assert fit(Counter, run={"stop": at_two})[0].metrics["value"] == 2
    stopper = tune.stopper.MaximumIterationStopper(3)
    assert fit(Counter, run={"stop": stopper})[0].metrics["value"] == 3


def test_large_values_travel_by_the_object_store(fit):
    def total(config, data=None):
        return {"total": sum(data) * config["x"]}

    assert fit(tune.with_parameters(total, data=list(range(10))), {"x": 2})[0].metrics["total"] == 90


def test_trials_get_the_resources_that_are_asked_for(fit):
    def who(config):
        return {"cpus": tune.get_context().get_trial_resources().required_resources["CPU"]}

    assert fit(tune.with_resources(who, {"cpu": 2}))[0].metrics["cpus"] == 2


def test_bundles_beyond_the_first_are_for_the_trials_own_work(fit):
    def parent(config):
        @ray.remote(num_cpus=1)
        def child():
            return 7

        return {"got": ray.get(child.remote(), timeout=60)}

    bundles = tune.PlacementGroupFactory([{"CPU": 1}, {"CPU": 1}])
    assert fit(tune.with_resources(parent, bundles))[0].metrics["got"] == 7


def test_the_context_tells_who_runs(fit):
    def who(config):
        context = tune.get_context()
        names = (context.get_trial_id(), context.get_trial_name(), context.get_experiment_name())
        return {"names": "|".join(names), "dir": context.get_trial_dir()}

    result = fit(who)[0]
    trial_id, name, experiment = result.metrics["names"].split("|")
    assert name == f"who_{trial_id}" and experiment == "exp"
    assert os.path.basename(result.metrics["dir"]) == os.path.basename(result.path)


def test_callbacks_see_what_happens(fit):
    class Notes(tune.Callback):
        def __init__(self):
            self.seen = []

        def on_trial_start(self, iteration, trials, trial, **info):
            self.seen.append("start")

        def on_trial_result(self, iteration, trials, trial, result, **info):
            self.seen.append(result["training_iteration"])

        def on_trial_complete(self, iteration, trials, trial, **info):
            self.seen.append("complete")

        def on_experiment_end(self, trials, **info):
            self.seen.append("end")

    notes = Notes()
    fit(reports_three, {"x": 1}, run={"callbacks": [notes]})
    assert notes.seen == ["start", 1, 2, 3, "complete", "end"]


def test_an_analysis_finds_the_best_trial(cluster, tmp_path):
    analysis = tune.run(
        reports_three,
        config={"x": tune.grid_search([3, 1, 2])},
        storage_path=str(tmp_path),
        metric="loss",
        mode="min",
        verbose=0,
    )
    assert analysis.best_config == {"x": 1}
    assert analysis.get_best_trial("loss", "max").config == {"x": 3}
    assert set(analysis.results_df["loss"].round(3)) == {1.333, 2.333, 3.333}
    again = tune.ExperimentAnalysis(analysis.experiment_path, default_metric="loss", default_mode="min")
    assert again.best_config == {"x": 1} and len(again.trials) == 3


def test_experiments_run_side_by_side(cluster, tmp_path):
    spec = {"run": reports_three, "config": {"x": 1}, "storage_path": str(tmp_path)}
    trials = tune.run_experiments({"one": spec, "two": {**spec, "num_samples": 2}}, verbose=0)
    assert [trial.status for trial in trials] == ["TERMINATED"] * 3
    assert sorted(os.listdir(tmp_path)) == ["one", "two"]


def test_trials_of_one_folder_name_have_folders_of_their_own(cluster, tmp_path):
    trials = tune.run(
        lambda config: tune.report({"t": config["t"]}),
        config={"t": tune.grid_search([1, 2, 3])},
        trial_dirname_creator=lambda trial: "mine",
        storage_path=str(tmp_path),
        verbose=0,
    ).trials
    folders = {trial.local_path for trial in trials}
    assert len(folders) == 3
    assert all("mine" in folder and os.path.exists(f"{folder}/result.json") for folder in folders)


def test_folders_without_the_time(cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_DISABLE_DATED_SUBDIR", "1")

    def undated(config):
        tune.report({"x": 1})

    tune.run(undated, storage_path=str(tmp_path), verbose=0)
    assert "undated" in os.listdir(tmp_path)


def test_references_are_parameters_too(cluster, tmp_path):
    def train(config, data):
        tune.report({"x": len(data)})

    trainable = tune.with_parameters(train, data=ray.put([1, 2, 3]))
    assert tune.run(trainable, storage_path=str(tmp_path), verbose=0).trials[0].last_result["x"] == 3
