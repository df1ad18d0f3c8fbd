"""Search spaces and variants: the same numbers from the same seeds as Ray."""

import numpy as np
import pytest
from ray import tune
from ray.tune.search.variant_generator import RecursiveDependencyError, format_vars, generate_variants


def drawn(domain, seed=1, size=4):
    return list(domain.sample(size=size, random_state=np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (tune.uniform(0, 1), [0.51182162, 0.9504637, 0.14415961, 0.94864945]),
        (tune.quniform(0, 10, 2), [6.0, 10.0, 2.0, 10.0]),
        (tune.loguniform(1e-4, 1e-1), [0.00343135, 0.0710217, 0.00027069, 0.07013719]),
        (tune.qloguniform(1e-4, 1e-1, 5e-5), [0.00345, 0.071, 0.00025, 0.07015]),
        (tune.randn(3, 2), [3.69116838, 4.64323629, 3.66087415, 0.39368554]),
        (tune.qrandn(3, 2, 0.5), [3.5, 4.5, 3.5, 0.5]),
        (tune.randint(0, 10), [4, 5, 7, 9]),
        (tune.qrandint(0, 10, 3), [3, 6, 9, 9]),
        (tune.lograndint(1, 100), [10, 79, 1, 78]),
        (tune.qlograndint(10, 100, 10), [30, 90, 10, 90]),
        (tune.choice([1, 2, 3]), [2, 2, 3, 3]),
    ],
    ids=lambda value: value.domain_str if hasattr(value, "domain_str") else "",
)
def test_draws_of_a_seed(domain, expected):
    assert drawn(domain) == pytest.approx(expected, abs=5e-9, rel=5e-5)


def test_numpys_global_seed_repeats_draws():
    np.random.seed(3)
    first = [tune.uniform(0, 1).sample(), tune.randint(0, 10).sample(), tune.choice("abc").sample()]
    assert first == [0.5507979025745755, 9, "a"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: tune.loguniform(0, 1), "greater than 0"),
        (lambda: tune.quniform(0.1, 1, 0.3), "not divisible"),
        (lambda: tune.search.sample.Float(None, None).uniform(), "requires a lower bound"),
        (lambda: tune.search.sample.Float(0, 1).uniform().uniform(), "only choose one sampler"),
    ],
)
def test_wrong_spaces_are_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def variants(spec, **options):
    return [resolved for _, resolved in generate_variants(spec, **options)]


def test_the_first_grid_changes_fastest():
    spec = {"a": tune.grid_search([1, 2]), "b": {"c": tune.grid_search([3, 4])}}
    assert [(each["a"], each["b"]["c"]) for each in variants(spec)] == [(1, 3), (2, 3), (1, 4), (2, 4)]


def test_functions_see_what_other_functions_made():
    spec = {
        "a": tune.sample_from(lambda spec: spec.b + 1),
        "b": tune.sample_from(lambda spec: spec["c"] * 2),
        "c": tune.grid_search([1, 2]),
    }
    assert variants(spec) == [{"a": 3, "b": 2, "c": 1}, {"a": 5, "b": 4, "c": 2}]


def test_functions_in_a_circle_are_refused():
    spec = {"a": tune.sample_from(lambda spec: spec.b), "b": tune.sample_from(lambda spec: spec.a)}
    with pytest.raises(RecursiveDependencyError, match="recursively depends"):
        variants(spec)


def test_spaces_inside_of_choices_are_resolved():
    spec = {"m": tune.choice([{"x": tune.uniform(5, 6), "g": tune.grid_search([1, 2])}])}
    found = variants(spec, random_state=1)
    assert [each["m"]["g"] for each in found] == [1, 2]
    assert all(5 <= each["m"]["x"] < 6 for each in found)


def test_constant_grid_search_draws_once():
    found = variants(
        {"a": tune.uniform(0, 1), "b": tune.grid_search([1, 2])}, constant_grid_search=True, random_state=1
    )
    assert found[0]["a"] == found[1]["a"]


def test_variables_in_lists_are_resolved_and_the_spec_is_left_alone():
    spec = {"l": [1, tune.choice([7])]}
    assert variants(spec) == [{"l": [1, 7]}]
    assert not isinstance(spec["l"][1], int)


def test_tags_name_variables_and_values():
    values = {("config", "a"): 1.23456789, ("config", "b", "c"): "x/y z", ("config", "l", 1): None}
    assert format_vars(values) == "a=1.2346,c=x_y_z,1=None"
