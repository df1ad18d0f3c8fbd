"""Processes that run one trial after the other, and are given the next one in advance."""

import os
import time

import pytest
import ray
from ray import tune


@pytest.fixture
def host(cluster, tmp_path):
    """A host in this process, and a function that gives it trials."""
    from narke.tune.execution.worker import TrialHost
    from narke.tune.trainable.function_trainable import wrap_function

    def objective(config):
        for number in range(config["reports"]):
            tune.report({"number": number})
        config["environment"] and os.environ.update(config["environment"])

    made, folder = TrialHost({"objective": wrap_function(objective)}), os.getcwd()

    def start(number, reports, queued=False, environment=None):
        facts = {"trial_id": f"t{number}", "local_dir": str(tmp_path / f"t{number}"), "ahead": True}
        config = {"reports": reports, "environment": environment}
        return made.start("objective", config, facts, None, (None, None), queued)

    yield made, start
    made.stop()
    assert os.getcwd() == folder


def run_out(host, outcome):
    """Step a trial to its end; returns how many results it had."""
    given, is_free = outcome
    count = len(given)
    while not is_free:
        given, is_free = host.step()
        count += len(given)
    return count


def test_a_queued_trial_begins_only_when_the_one_before_is_over(host):
    made, start = host
    assert start(0, 1, queued=True) is None  # nothing has run here yet
    outcome = start(1, 3)
    assert not outcome[1]
    assert start(2, 1, queued=True) is None
    assert run_out(made, outcome) == 4
    assert run_out(made, start(2, 1, queued=True)) == 2


def test_environment_and_folder_are_set_back_between_trials(host):
    made, start = host
    before = os.environ["PATH"]
    run_out(made, start(0, 1, environment={"OF_A_TRIAL": "1", "PATH": "elsewhere"}))
    assert "OF_A_TRIAL" not in os.environ and os.environ["PATH"] == before


def test_quick_trials_do_not_wait_behind_one_that_takes_long(fit, tmp_path):
    folder, count = tmp_path / "done", 24
    folder.mkdir()

    def objective(config):
        deadline = time.monotonic() + 60
        # Trials of a later number than this one have been given to its host in advance.
        while config["x"] == 10 and len(os.listdir(folder)) < count - 1:
            assert time.monotonic() < deadline, os.listdir(folder)
            time.sleep(0.01)
        (folder / str(config["x"])).touch()
        tune.report({"x": config["x"]})

    grid = fit(objective, {"x": tune.grid_search(list(range(count)))})
    assert grid.num_errors == 0 and sorted(result.metrics["x"] for result in grid) == list(range(count))


def test_trials_run_once_when_hosts_are_given_them_in_advance(fit, tmp_path):
    log = tmp_path / "begun.txt"

    def objective(config):
        with open(log, "a") as file:
            file.write(f"{config['x']}\n")
        if config["x"] % 7 == 3:
            raise ValueError("this one fails")
        for number in range(1 + config["x"] % 3):
            tune.report({"x": config["x"], "number": number})

    grid = fit(objective, {"x": tune.grid_search(list(range(60)))})
    failed = [x for x in range(60) if x % 7 == 3]
    assert grid.num_errors == len(failed)
    assert sorted(map(int, log.read_text().split())) == list(range(60))
    results = {result.metrics["x"]: result.metrics["number"] for result in grid if result.error is None}
    assert results == {x: x % 3 for x in range(60) if x not in failed}


def test_a_host_that_dies_takes_no_prepared_trial_with_it(fit, tmp_path):
    marker = tmp_path / "died"

    def objective(config):
        if config["x"] == 15 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), 9)
        tune.report({"x": config["x"]})

    grid = fit(
        objective,
        {"x": tune.grid_search(list(range(40)))},
        run={"failure_config": tune.FailureConfig(max_failures=1)},
    )
    assert marker.exists() and grid.num_errors == 0
    assert sorted(result.metrics["x"] for result in grid) == list(range(40))
    assert ray.is_initialized()
