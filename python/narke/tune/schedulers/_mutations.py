"""How population based training changes configurations."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable
from typing import Any

from narke.tune.search.sample import Domain
from narke.tune.search.variant_generator import format_vars

__all__ = ["check_mutations", "explore", "fill_config", "perturbed_tag"]


def check_mutations(mutations: dict[str, Any]) -> None:
    """Refuse mutations of the wrong kind.

    Raises:
        TypeError: a value is no list, tuple, set, dict, function or search space.
    """
    for key, value in mutations.items():
        if isinstance(value, dict):
            if "grid_search" in value:
                raise ValueError(f"hyperparam_mutations[{key!r}] is a grid search; give a list of its values")
            check_mutations(value)
        elif not isinstance(value, (list, tuple, set, Domain)) and not callable(value):
            raise TypeError(
                f"`hyperparam_mutations` values must be a list, tuple, set, dict, search space or function; {key!r} is "
                f"{value!r}"
            )


def _drawn(distribution: Any) -> Any:
    if isinstance(distribution, Domain):
        return distribution.sample(None)
    if isinstance(distribution, (list, tuple, set)):
        return random.choice(list(distribution))
    return distribution()


def fill_config(config: dict[str, Any], mutations: dict[str, Any]) -> dict[str, Any]:
    """Draw a value into a configuration for each mutated key that it lacks; returns those drawn."""
    drawn: dict[str, Any] = {}
    for key, distribution in mutations.items():
        if isinstance(distribution, dict):
            config.setdefault(key, {})
            inner = fill_config(config[key], distribution)
            drawn.update({f"{key}/{name}": value for name, value in inner.items()})
        elif key not in config:
            config[key] = drawn[key] = _drawn(distribution)
    return drawn


def explore(
    config: dict[str, Any],
    mutations: dict[str, Any],
    resample_probability: float,
    perturbation_factors: tuple[float, float],
    custom_explore_fn: Callable | None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A changed copy of a configuration.

    Args:
        config: it.
        mutations: by key: the values or the distribution to draw from.
        resample_probability: of drawing anew; otherwise numbers are multiplied, and listed values change to a
            neighbour.
        perturbation_factors: of which one multiplies.
        custom_explore_fn: gets the changed configuration and returns the final one.

    Returns:
        (the configuration, what was done by key).

    Raises:
        ValueError: the custom function returned nothing.
    """
    changed = copy.deepcopy(config)
    operations: dict[str, Any] = {}
    for key, distribution in mutations.items():
        if isinstance(distribution, dict):
            changed[key], operations[key] = explore(
                config[key], distribution, resample_probability, perturbation_factors, None
            )
        else:
            changed[key], operations[key] = _explore_value(
                config[key], distribution, resample_probability, perturbation_factors
            )
    if custom_explore_fn is not None:
        changed = custom_explore_fn(changed)
        if changed is None:
            raise ValueError("custom_explore_fn must return the new configuration; it returned None")
    return changed, operations


def _explore_value(
    value: Any, distribution: Any, resample_probability: float, factors: tuple[float, float]
) -> tuple[Any, str]:
    listed = list(distribution) if isinstance(distribution, (list, tuple, set)) else None
    if random.random() < resample_probability or (listed is not None and value not in listed):
        return _drawn(distribution), "resample"
    if listed is not None:
        step = random.choice([-1, 1])
        place = min(max(listed.index(value) + step, 0), len(listed) - 1)
        return listed[place], f"shift {'left' if step == -1 else 'right'}" + (
            "" if listed[place] != value else " (noop)"
        )
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return _drawn(distribution), "resample"
    factor = random.choice(factors)
    return (int(value * factor) if isinstance(value, int) else value * factor), f"* {factor}"


def perturbed_tag(original: str, config: dict[str, Any], mutations: dict[str, Any]) -> str:
    """The tag of a trial after a change."""
    values = {("config", key): config.get(key) for key in mutations}
    return f"{original}@perturbed[{format_vars(values)}]"
