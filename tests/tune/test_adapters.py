"""Adapters of search libraries, with the libraries themselves where they are installed."""

import importlib.util

import pytest

from narke import tune
from narke.tune.search import ConcurrencyLimiter, Searcher, create_searcher

FLOATS = {"x": tune.uniform(0, 1), "sub": {"y": tune.uniform(0.1, 1)}, "k": 7}
MIXED = {
    "x": tune.uniform(0, 1),
    "sub": {"y": tune.loguniform(1e-3, 1)},
    "n": tune.randint(1, 5),
    "c": tune.choice("ab"),
}
LIBRARIES = {
    "optuna": ("optuna", {}, MIXED),
    "hyperopt": ("hyperopt", {"n_initial_points": 3, "random_state_seed": 1}, MIXED),
    "bayesopt": ("bayes_opt", {"random_search_steps": 3}, FLOATS),
    "nevergrad": ("nevergrad", {}, MIXED),
    "zoopt": ("zoopt", {"budget": 40}, MIXED),
    "ax": ("ax", {}, FLOATS),
    "bohb": ("hpbandster", {}, MIXED),
    "hebo": ("hebo", {}, MIXED),
    "skopt": ("skopt", {}, MIXED),
    "blendsearch": ("flaml", {"seed": 1}, MIXED),
    "cfo": ("flaml", {"seed": 1}, MIXED),
    "dragonfly": ("dragonfly", {"optimizer": "bandit", "domain": "cartesian"}, FLOATS),
}
INSTALLED = [name for name, (package, _, _) in LIBRARIES.items() if importlib.util.find_spec(package)]
MISSING = [name for name in LIBRARIES if name not in INSTALLED]


def loss_of(config):
    return (config["x"] - 0.3) ** 2 + config["sub"]["y"]


def made(name):
    _, options, space = LIBRARIES[name]
    searcher = create_searcher(name, **options)
    assert searcher.set_search_properties("loss", "min", space)
    return searcher


@pytest.mark.parametrize("name", INSTALLED)
def test_a_searcher_suggests_points_of_the_space_and_survives_saving(name, tmp_path):
    searcher, space = made(name), LIBRARIES[name][2]
    for number in range(6):
        config = searcher.suggest(f"t{number}")
        assert 0 <= config["x"] <= 1 and config["sub"]["y"] <= 1
        assert config.get("k", 7) == 7 and config.get("c", "a") in "ab" and config.get("n", 1) in (1, 2, 3, 4)
        assert set(config) == set(space)
        result = {"loss": loss_of(config), "training_iteration": 1, "hyperband_info": {"budget": 1}}
        searcher.on_trial_result(f"t{number}", result)
        searcher.on_trial_complete(f"t{number}", result)
        if number == 2:
            searcher.save(str(tmp_path / "state"))
            searcher = made(name)
            searcher.restore(str(tmp_path / "state"))
    searcher.suggest("failing")
    searcher.on_trial_complete("failing", None, error=True)


needs_zoopt = pytest.mark.skipif("zoopt" not in INSTALLED, reason="needs zoopt")


@needs_zoopt
def test_zoopt_suggests_as_many_points_as_its_budget():
    searcher = made("zoopt")
    for number in range(40):
        config = searcher.suggest(f"t{number}")
        failed = number % 5 == 2
        result = None if failed else {"loss": loss_of(config)}
        searcher.on_trial_complete(f"t{number}", result, error=failed)


@needs_zoopt
def test_zoopt_is_finished_when_every_point_was_tried():
    searcher = create_searcher("zoopt", budget=40)
    searcher.set_search_properties("loss", "min", {"x": tune.choice([1, 2, 3]), "y": tune.choice([4, 5])})
    tried = []
    while (config := searcher.suggest(str(len(tried)))) != Searcher.FINISHED:
        searcher.on_trial_complete(str(len(tried)), {"loss": config["x"] * config["y"]})
        tried.append((config["x"], config["y"]))
        assert len(tried) <= 40
    assert len(set(tried)) >= 3


@pytest.mark.parametrize("name", MISSING)
def test_a_missing_library_is_named(name):
    with pytest.raises(ImportError, match="pip install"):
        create_searcher(name, **LIBRARIES[name][1])


@pytest.mark.parametrize("name", INSTALLED)
def test_grids_are_refused(name):
    searcher = create_searcher(name, **LIBRARIES[name][1])
    with pytest.raises(ValueError, match="[Gg]rid"):
        searcher.set_search_properties("loss", "min", {"x": tune.grid_search([1, 2])})


needs_optuna = pytest.mark.skipif("optuna" not in INSTALLED, reason="needs optuna")


@needs_optuna
def test_optuna_finds_a_better_point_than_its_first_ones():
    searcher = create_searcher("optuna", seed=1)
    searcher.set_search_properties("loss", "min", MIXED)
    losses = []
    for number in range(40):
        config = searcher.suggest(str(number))
        losses.append(loss_of(config))
        searcher.on_trial_complete(str(number), {"loss": losses[-1]})
    assert min(losses[10:]) < min(losses[:10])


@needs_optuna
def test_optuna_takes_spaces_defined_by_running():
    from narke.tune.search.optuna import OptunaSearch

    def define(trial):
        if trial.suggest_categorical("kind", ["a"]) == "a":
            trial.suggest_float("x", 0, 1)
        return {"constant": 5}

    searcher = OptunaSearch(define, metric="loss", mode="min")
    config = searcher.suggest("one")
    assert set(config) == {"kind", "x", "constant"}
    searcher.on_trial_complete("one", {"loss": 1})


@needs_optuna
def test_optuna_optimizes_several_metrics(tmp_path):
    from narke.tune.search.optuna import OptunaSearch

    searcher = OptunaSearch(MIXED, metric=["a", "b"], mode=["min", "max"])
    for number in range(3):
        config = searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {"a": config["x"], "b": config["n"]})
    assert len(searcher._ot_study.best_trials) >= 1


@needs_optuna
def test_points_and_rewards_are_known_to_optuna():
    from narke.tune.search.optuna import OptunaSearch

    space = {"x": tune.uniform(0, 1)}
    first = OptunaSearch(space, metric="l", mode="min", points_to_evaluate=[{"x": 0.25}])
    assert first.suggest("a") == {"x": 0.25}
    known = OptunaSearch(
        space, metric="l", mode="min", points_to_evaluate=[{"x": 0.25}], evaluated_rewards=[1.0]
    )
    assert known.suggest("a") != {"x": 0.25}


@pytest.mark.skipif("hyperopt" not in INSTALLED, reason="needs hyperopt")
def test_hyperopt_takes_conditional_spaces():
    searcher = create_searcher("hyperopt", random_state_seed=1)
    space = {"m": tune.choice([{"kind": "a", "x": tune.uniform(0, 1)}, {"kind": "b"}])}
    searcher.set_search_properties("loss", "min", space)
    found = [searcher.suggest(str(number))["m"] for number in range(20)]
    assert {each["kind"] for each in found} == {"a", "b"}
    assert all(("x" in each) == (each["kind"] == "a") for each in found)


def test_a_limiter_in_batches_tells_results_together():
    class Notes(tune.search.Searcher):
        def __init__(self):
            super().__init__("loss", "min")
            self.told = []

        def suggest(self, trial_id):
            return {"x": 1}

        def on_trial_complete(self, trial_id, result=None, error=False):
            self.told.append(trial_id)

    limiter = ConcurrencyLimiter(Notes(), max_concurrent=2, batch=True)
    assert limiter.suggest("a") and limiter.suggest("b") and limiter.suggest("c") is None
    limiter.on_trial_complete("a", {"loss": 1})
    assert limiter.searcher.told == [] and limiter.suggest("c") is None
    limiter.on_trial_complete("b", {"loss": 1})
    assert limiter.searcher.told == ["a", "b"] and limiter.suggest("c") is not None
