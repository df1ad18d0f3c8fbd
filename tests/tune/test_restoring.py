"""Going on after crashes: drivers that are killed, failures that stop all, changed arguments."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import ray
from engine import IS_RAY, run_program
from ray import tune
from ray.tune import Tuner

PROGRAM = """
import os, sys, time, tempfile
import ray
from ray import tune
from ray.tune import Checkpoint

folder, phase = {folder!r}, sys.argv[1] if len(sys.argv) > 1 else {phase!r}

def objective(config):
    with open(os.path.join(folder, "runs.txt"), "a") as file:
        file.write(f"{{config['x']}}\\n")
    checkpoint, start = tune.get_checkpoint(), 0
    if checkpoint:
        with checkpoint.as_directory() as path:
            start = int(open(os.path.join(path, "i")).read()) + 1
    for i in range(start, 5):
        with tempfile.TemporaryDirectory() as path:
            open(os.path.join(path, "i"), "w").write(str(i))
            tune.report({{"i": i, "x": config["x"], "start": start}}, checkpoint=Checkpoint.from_directory(path))
        time.sleep({pause})

ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
path = os.path.join(folder, "exp")
if phase == "first":
    tuner = tune.Tuner(
        objective,
        param_space={{"x": tune.grid_search(list(range(8)))}},
        run_config=tune.RunConfig(name="exp", storage_path=folder, verbose=0),
    )
else:
    assert tune.Tuner.can_restore(path)
    tuner = tune.Tuner.restore(path, objective)
grid = tuner.fit()
print("ended", len(grid), sorted(result.metrics["x"] for result in grid), grid.num_errors)
ray.shutdown()
"""


def ended_trials(folder):
    """The identifiers of trials that the state on disk has as ended."""
    from narke.tune.execution.journal import find_state

    state = find_state(os.path.join(folder, "exp"))
    return {tid: state.status_of(tid) for tid in state.trials} if state else {}


@pytest.mark.skipif(IS_RAY, reason="looks at Narke's journal")
def test_a_killed_driver_loses_no_finished_trial(tmp_path):
    source = PROGRAM.format(folder=str(tmp_path), phase="first", pause=0.1)
    program = tmp_path / "first.py"
    program.write_text("import engine\n" + source)
    process = subprocess.Popen([sys.executable, str(program)], start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while list(ended_trials(tmp_path).values()).count("TERMINATED") < 3:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.05)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    before = {tid for tid, status in ended_trials(tmp_path).items() if status == "TERMINATED"}
    again = run_program(tmp_path, PROGRAM.format(folder=str(tmp_path), phase="second", pause=0.01))
    assert "ended 8 [0, 1, 2, 3, 4, 5, 6, 7] 0" in again.stdout, again.stderr[-2000:]
    runs = (tmp_path / "runs.txt").read_text().split()
    finished = {tid for tid, status in ended_trials(tmp_path).items() if status == "TERMINATED"}
    assert before <= finished and len(finished) == 8
    # Those whose end was on record ran once. Each of the two workers may have ended one more, and begun the next.
    assert len(runs) <= 8 + 4


def test_an_experiment_killed_before_its_first_record_begins(cluster, tmp_path):
    tuner = tune.Tuner(
        lambda config: {"loss": config["x"]},
        param_space={"x": tune.grid_search([1, 2])},
        run_config=tune.RunConfig(name="exp", storage_path=str(tmp_path), verbose=0),
    )
    tuner.fit()
    for left in (tmp_path / "exp").iterdir():
        if left.name != "tuner.pkl":
            shutil.rmtree(left) if left.is_dir() else left.unlink()
    assert tune.Tuner.can_restore(str(tmp_path / "exp"))
    grid = tune.Tuner.restore(str(tmp_path / "exp"), lambda config: {"loss": config["x"]}).fit()
    assert sorted(result.metrics["loss"] for result in grid) == [1, 2]


def wavering(config):
    if config["x"] == 1 and not os.path.exists(config["flag"]):
        raise ValueError("boom")
    tune.report({"x": config["x"]})


def tuner(tmp_path, **failure):
    flag = str(tmp_path / "flag")
    return Tuner(
        wavering,
        param_space={"x": tune.grid_search([1, 2, 3, 4]), "flag": flag},
        tune_config=tune.TuneConfig(max_concurrent_trials=1),
        run_config=tune.RunConfig(
            name="exp", storage_path=str(tmp_path), verbose=0, failure_config=tune.FailureConfig(**failure)
        ),
    )


@pytest.mark.skipif(IS_RAY, reason="Ray cannot go on after fail_fast")
def test_fail_fast_leaves_a_run_that_can_be_restored(cluster, tmp_path):
    grid = tuner(tmp_path, fail_fast=True).fit()
    assert grid.num_errors == 1
    (tmp_path / "flag").touch()
    again = Tuner.restore(str(tmp_path / "exp"), wavering, restart_errored=True).fit()
    assert again.num_errors == 0 and sorted(result.metrics["x"] for result in again) == [1, 2, 3, 4]


def test_failed_trials_stay_failed_unless_asked_for(cluster, tmp_path):
    tuner(tmp_path).fit()
    (tmp_path / "flag").touch()
    assert Tuner.restore(str(tmp_path / "exp"), wavering).fit().num_errors == 1
    assert Tuner.restore(str(tmp_path / "exp"), wavering, resume_errored=True).fit().num_errors == 0


def test_results_of_an_ended_experiment_can_be_looked_at(cluster, tmp_path):
    (tmp_path / "flag").touch()
    tuner(tmp_path).fit()
    grid = Tuner.restore(str(tmp_path / "exp"), wavering).get_results()
    assert sorted(result.metrics["x"] for result in grid) == [1, 2, 3, 4]


def test_another_trainable_or_space_is_refused(cluster, tmp_path):
    (tmp_path / "flag").touch()
    tuner(tmp_path).fit()

    def other(config):
        return {"x": 1}

    with pytest.raises(ValueError, match="trainable"):
        Tuner.restore(str(tmp_path / "exp"), other)
    with pytest.raises(ValueError, match="param_space"):
        Tuner.restore(str(tmp_path / "exp"), wavering, param_space={"y": 1})
    with pytest.raises(ValueError):
        Tuner.restore(str(tmp_path / "nothing"), wavering)
    assert not Tuner.can_restore(str(tmp_path / "nothing"))


def test_tune_run_resumes_by_name(cluster, tmp_path):
    (tmp_path / "flag").touch()
    config = {"x": tune.grid_search([1, 2]), "flag": str(tmp_path / "flag")}
    options = {"config": config, "name": "again", "storage_path": str(tmp_path), "verbose": 0}
    first = tune.run(wavering, resume="AUTO", **options)
    second = tune.run(wavering, resume="AUTO", **options)
    assert [trial.trial_id for trial in second.trials] == [trial.trial_id for trial in first.trials]
    with pytest.raises(ValueError):
        tune.run(wavering, resume=True, **{**options, "name": "unknown"})


@pytest.mark.skipif(IS_RAY, reason="Ray keeps its files elsewhere for a while")
def test_a_storage_that_is_not_local_holds_everything(cluster, tmp_path):
    import pyarrow.fs

    store = pyarrow.fs.SubTreeFileSystem(str(tmp_path), pyarrow.fs.LocalFileSystem())

    def makes(config):
        with open("note.txt", "w") as file:
            file.write("x")
        tune.report({"x": config["x"]}, checkpoint=tune.Checkpoint.from_directory(os.getcwd()))

    config = tune.RunConfig(name="exp", storage_path="there", storage_filesystem=store, verbose=0)
    grid = Tuner(makes, param_space={"x": tune.grid_search([1, 2])}, run_config=config).fit()
    assert not grid.errors
    assert (tmp_path / "there" / "exp" / "tuner.pkl").exists()
    assert {result.metrics_dataframe["x"].tolist()[0] for result in grid} == {1, 2}
    with grid[0].checkpoint.as_directory() as folder:
        assert "note.txt" in os.listdir(folder)
    again = Tuner.restore("there/exp", makes, storage_filesystem=store).get_results()
    assert len(again) == 2
    assert ray.is_initialized()


@pytest.mark.skipif(IS_RAY, reason="looks at Narke's files")
def test_a_restored_searcher_is_not_told_twice(cluster, tmp_path):
    pytest.importorskip("optuna")
    from narke.tune.search.optuna import OptunaSearch

    def objective(config):
        return {"loss": config["x"]}

    config = tune.RunConfig(name="exp", storage_path=str(tmp_path), verbose=0)
    search = tune.TuneConfig(num_samples=3, search_alg=OptunaSearch(seed=1), metric="loss", mode="min")
    Tuner(objective, param_space={"x": tune.uniform(0, 1)}, tune_config=search, run_config=config).fit()
    again = Tuner.restore(str(tmp_path / "exp"), objective)
    assert len(again.fit()) == 3
    study = again._local_tuner._tune_config.search_alg._ot_study
    assert len(study.trials) == 3


def test_an_experiment_that_was_moved_goes_on_from_its_checkpoints(fit, tmp_path):
    def objective(config):
        checkpoint, start = tune.get_checkpoint(), 0
        if checkpoint:
            with checkpoint.as_directory() as path, open(os.path.join(path, "i")) as file:
                start = int(file.read()) + 1
        for i in range(start, 3):
            folder = tmp_path / f"made-{i}"
            folder.mkdir()
            (folder / "i").write_text(str(i))
            tune.report({"i": i, "start": start}, checkpoint=tune.Checkpoint.from_directory(folder))
            if start == 0:
                raise ValueError("the first run fails")

    first = fit(objective, {}, run={"name": "here", "storage_path": str(tmp_path)})
    assert first.num_errors == 1
    there = tmp_path / "elsewhere" / "there"
    there.parent.mkdir()
    shutil.move(first.experiment_path, there)
    found = Tuner.restore(str(there), objective, resume_errored=True)
    assert found.get_results()[0].checkpoint.path.startswith(str(there))
    result = found.fit()[0]
    assert (result.metrics["i"], result.metrics["start"]) == (2, 1)
    assert result.checkpoint.path.startswith(str(there))
