"""Searches over spaces of listed values."""

import pytest
from engine import IS_RAY
from ray import tune

if IS_RAY:
    pytest.skip("Ray has these no longer", allow_module_level=True)

from narke.tune import automl


def space():
    return automl.SearchSpace(
        [automl.DiscreteSpace("a", [1, 2, 3]), automl.ContinuousSpace("b", 0.0, 1.0, 3)]
    )


def objective(config):
    tune.report({"reward": config["a"] + config["b"]})


@pytest.mark.parametrize(
    ("search", "trials"),
    [
        (lambda: automl.GridSearch(space(), "reward"), 9),
        (lambda: automl.RandomSearch(space(), "reward", 5), 5),
        (lambda: automl.GeneticSearch(space(), "reward", max_generation=3, population_size=6), 6 + 5 + 4),
    ],
)
def test_rounds_of_trials(cluster, tmp_path, search, trials):
    made = search()
    found = tune.run(objective, search_alg=made, storage_path=str(tmp_path), verbose=0)
    rewards = [trial.last_result["reward"] for trial in found.trials]
    assert len(rewards) == trials
    assert made.best_reward == max(rewards)
    assert made.best_parameters["a"] + made.best_parameters["b"] == made.best_reward


def test_points_are_codes_of_values():
    point = space().generate_random_one_hot_encoding()
    assert [len(code) for code in point] == [3, 3] and all(code.sum() == 1 for code in point)
    values = space().apply_one_hot_encoding(point)
    assert values["a"] in (1, 2, 3) and values["b"] in (0.0, 0.5, 1.0)
    with pytest.raises(NotImplementedError, match="linear"):
        automl.ContinuousSpace("b", 0, 1, 3, "log")
