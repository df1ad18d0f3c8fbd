"""Searchers and schedulers of Tune itself, in whole experiments."""

import os
import tempfile

import pytest
from ray import tune
from ray.tune import Checkpoint, schedulers
from ray.tune.search import BasicVariantGenerator, ConcurrencyLimiter, Repeater, Searcher


def curve(config):
    for i in range(1, 9):
        tune.report({"score": config["x"] * i})


def test_asha_stops_trials_that_are_behind(fit):
    asha = schedulers.ASHAScheduler(max_t=8, grace_period=1, reduction_factor=2)
    values = [8, 7, 6, 5, 4, 3, 2, 1]  # the best first: each later trial is behind
    grid = fit(
        curve,
        {"x": tune.grid_search(values)},
        scheduler=asha,
        metric="score",
        mode="max",
        max_concurrent_trials=1,
    )
    reached = {result.config["x"]: result.metrics["training_iteration"] for result in grid}
    assert reached[8] == 8
    assert all(reached[x] == 1 for x in values[1:])


class Walker(tune.Trainable):
    def setup(self, config):
        self.value = 0.0

    def step(self):
        self.value += self.config["rate"]
        return {"score": self.value}

    def save_checkpoint(self, checkpoint_dir):
        return {"value": self.value}

    def load_checkpoint(self, checkpoint):
        self.value = checkpoint["value"]


def test_hyperband_gives_the_best_all_its_time(fit):
    band = schedulers.HyperBandScheduler(max_t=9, reduction_factor=3)
    grid = fit(
        Walker,
        {"rate": tune.grid_search(list(range(1, 10)))},
        scheduler=band,
        metric="score",
        mode="max",
        run={"stop": {"training_iteration": 9}},
    )
    reached = {result.config["rate"]: result.metrics["training_iteration"] for result in grid}
    assert reached[9] == 9 and reached[1] < 9
    assert not grid.errors


def test_population_members_take_over_better_ones(fit):
    pbt = schedulers.PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=2,
        hyperparam_mutations={"rate": [0.01, 1.0]},
        quantile_fraction=0.5,
        resample_probability=0.0,
        synch=True,
    )
    grid = fit(
        Walker,
        {"rate": tune.grid_search([0.01, 1.0])},
        scheduler=pbt,
        metric="score",
        mode="max",
        run={
            "stop": {"training_iteration": 20},
            "checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=1),
        },
    )
    assert not grid.errors
    # Alone, the slow one would reach 0.2.
    assert min(result.metrics["score"] for result in grid) > 1.0
    assert os.path.exists(os.path.join(grid.experiment_path, "pbt_global.txt"))


def test_median_rule_stops_the_worst(fit):
    rule = schedulers.MedianStoppingRule(
        time_attr="training_iteration", grace_period=1, min_samples_required=2
    )
    grid = fit(
        curve,
        {"x": tune.grid_search([9, 8, 1])},
        scheduler=rule,
        metric="score",
        mode="max",
        max_concurrent_trials=1,
    )
    reached = {result.config["x"]: result.metrics["training_iteration"] for result in grid}
    assert reached[9] == 8 and reached[1] < 8


class Ladder(Searcher):
    """A user's searcher: each suggestion is better than the last."""

    def __init__(self):
        super().__init__(metric="score", mode="max")
        self.step, self.completed, self.seen = 0, [], 0

    def suggest(self, trial_id):
        if self.step == 4:
            return Searcher.FINISHED
        self.step += 1
        return {"x": self.step}

    def on_trial_result(self, trial_id, result):
        self.seen += 1

    def on_trial_complete(self, trial_id, result=None, error=False):
        self.completed.append(result["score"])


def test_a_users_searcher_is_asked_and_told(fit):
    ladder = Ladder()
    grid = fit(curve, search_alg=ladder, num_samples=10)
    assert sorted(result.config["x"] for result in grid) == [1, 2, 3, 4]
    assert sorted(ladder.completed) == [8, 16, 24, 32] and ladder.seen >= 28


def test_a_limiter_holds_trials_back(fit):
    class Watch(tune.Callback):
        most = 0

        def on_step_end(self, iteration, trials, **info):
            Watch.most = max(Watch.most, sum(trial.status == "RUNNING" for trial in trials))

    fit(
        curve,
        search_alg=ConcurrencyLimiter(Ladder(), max_concurrent=2),
        num_samples=10,
        run={"callbacks": [Watch()]},
    )
    assert Watch.most <= 2


def test_a_repeater_averages(fit):
    ladder = Ladder()
    grid = fit(curve, search_alg=Repeater(ladder, repeat=2), num_samples=4)
    assert sorted(result.config["x"] for result in grid) == [1, 1, 2, 2]
    assert sorted(ladder.completed) == [8, 16]


def test_points_come_first_and_a_seed_repeats(fit):
    def once(config):
        return {"x": config["x"]}

    def run():
        search = BasicVariantGenerator(points_to_evaluate=[{"x": 7}], random_state=5)
        return [
            result.config["x"]
            for result in fit(once, {"x": tune.uniform(0, 1)}, search_alg=search, num_samples=3)
        ]

    first = run()
    assert first[0] == 7 and 0 <= first[1] < 1 and first == run()


def test_metric_given_twice_is_refused(fit):
    asha = schedulers.ASHAScheduler(metric="score", mode="max")
    with pytest.raises(ValueError, match="scheduler"):
        fit(curve, {"x": 1}, scheduler=asha, metric="score", mode="max")


def test_schedulers_can_be_made_by_name():
    assert isinstance(tune.create_scheduler("async_hyperband", max_t=3), schedulers.ASHAScheduler)
    with pytest.raises(ValueError, match="nonsense"):
        tune.create_scheduler("nonsense")


def test_a_population_is_replayed_from_its_policy(fit, tmp_path):
    policy = tmp_path / "pbt_policy_1.txt"
    policy.write_text('["0", "1", 2, 2, {"rate": 1.0}, {"rate": 5.0}]\n')
    replay = schedulers.PopulationBasedTrainingReplay(str(policy))
    result = fit(Walker, scheduler=replay, run={"stop": {"training_iteration": 4}})[0]
    assert result.metrics["score"] == pytest.approx(1 + 1 + 5 + 5)


def test_functions_survive_pauses_of_a_population(fit):
    def walker(config):
        value, start = 0.0, 0
        checkpoint = tune.get_checkpoint()
        if checkpoint:
            with checkpoint.as_directory() as folder, open(os.path.join(folder, "v")) as file:
                start, value = (float(part) for part in file.read().split())
        for i in range(int(start) + 1, 13):
            value += config["rate"]
            with tempfile.TemporaryDirectory() as folder:
                with open(os.path.join(folder, "v"), "w") as file:
                    file.write(f"{i} {value}")
                tune.report({"score": value}, checkpoint=Checkpoint.from_directory(folder))

    pbt = schedulers.PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=3,
        hyperparam_mutations={"rate": tune.uniform(0.5, 1.0)},
        quantile_fraction=0.5,
        synch=True,
    )
    grid = fit(walker, {"rate": tune.grid_search([0.01, 1.0])}, scheduler=pbt, metric="score", mode="max")
    assert not grid.errors and min(result.metrics["score"] for result in grid) > 0.5


def test_a_population_larger_than_the_cluster_comes_to_its_end(fit):
    def runs(config):
        checkpoint, done = tune.get_checkpoint(), 0
        if checkpoint:
            with checkpoint.as_directory() as folder, open(os.path.join(folder, "step")) as file:
                done = int(file.read())
        for step in range(done + 1, 13):
            with tempfile.TemporaryDirectory() as folder:
                with open(os.path.join(folder, "step"), "w") as file:
                    file.write(str(step))
                tune.report({"rate": config["rate"]}, checkpoint=Checkpoint.from_directory(folder))

    population = schedulers.PopulationBasedTraining(
        time_attr="training_iteration",
        metric="rate",
        mode="max",
        perturbation_interval=3,
        # What is changed is the worst again, and is set back to the time of the best.
        hyperparam_mutations={"rate": lambda: 0.0},
        resample_probability=1.0,
        log_config=False,
    )
    grid = fit(
        tune.with_resources(runs, {"cpu": 2}),
        {"rate": tune.grid_search([0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9])},
        scheduler=population,
    )
    assert grid.num_errors == 0 and grid.num_terminated == 8
