"""Spaces of listed values, and points of them as one-hot codes."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from narke.tune.search.sample import sample_from
from narke.tune.search.variant_generator import grid_search

__all__ = ["ContinuousSpace", "DiscreteSpace", "ParameterSpace", "SearchSpace"]


class ParameterSpace:
    """The values that one parameter may have.

    Args:
        name: of the parameter.
        choices: the values.
    """

    def __init__(self, name: str, choices: list[Any]) -> None:
        self.name = name
        self.choices = choices

    def choices_count(self) -> int:
        """How many values there are."""
        return len(self.choices)

    def to_grid_search(self) -> dict[str, Any]:
        """A grid over the values."""
        return grid_search(list(self.choices))

    def to_random_choice(self) -> Any:
        """A domain that draws one of the values."""
        return sample_from(lambda _config: random.choice(self.choices))

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.name}: {self.choices}"


class DiscreteSpace(ParameterSpace):
    """A parameter with given values.

    Args:
        name: of the parameter.
        choices: the values.
    """

    def __init__(self, name: str, choices: list[Any]) -> None:
        super().__init__(name, list(choices))


class ContinuousSpace(ParameterSpace):
    """A parameter with values at equal distances.

    Args:
        name: of the parameter.
        start, end: the least and the greatest value.
        num: how many values.
        distribution: "linear" is the only one.

    Raises:
        NotImplementedError: another distribution.
    """

    LINEAR = "linear"

    def __init__(self, name: str, start: float, end: float, num: int, distribution: str = LINEAR) -> None:
        if distribution != self.LINEAR:
            raise NotImplementedError(
                f"the distribution of {name!r} is {distribution!r}; it must be 'linear'"
            )
        super().__init__(name, [float(each) for each in np.linspace(start, end, num)])
        self.start, self.end, self.num, self.distribution = float(start), float(end), num, distribution


class SearchSpace:
    """Several parameters.

    Args:
        param_list: their spaces.
    """

    def __init__(self, param_list: ParameterSpace | list[ParameterSpace]) -> None:
        given = [param_list] if isinstance(param_list, ParameterSpace) else list(param_list)
        self.param_list: dict[str, ParameterSpace] = {space.name: space for space in given}

    def to_grid_search(self) -> dict[str, Any]:
        """A grid over each parameter."""
        return {name: space.to_grid_search() for name, space in self.param_list.items()}

    def to_random_choice(self) -> dict[str, Any]:
        """A random draw for each parameter."""
        return {name: space.to_random_choice() for name, space in self.param_list.items()}

    def generate_random_one_hot_encoding(self) -> list[np.ndarray]:
        """A random point: for each parameter a row of zeros with a one at the chosen value."""
        return [_one_hot(space.choices_count()) for space in self.param_list.values()]

    def apply_one_hot_encoding(self, one_hot_encoding: list[np.ndarray]) -> dict[str, Any]:
        """The values that a point stands for."""
        return {
            name: space.choices[int(np.argmax(code))]
            for (name, space), code in zip(self.param_list.items(), one_hot_encoding, strict=True)
        }


def _one_hot(size: int) -> np.ndarray:
    code = np.zeros(size)
    code[random.randrange(size)] = 1
    return code
