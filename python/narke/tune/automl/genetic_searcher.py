"""`GeneticSearch`: generations of points; the best survive, cross and change."""

from __future__ import annotations

import random
from typing import Any

import numpy as np

from narke.tune.automl.search_policy import AutoMLSearcher
from narke.tune.automl.search_space import SearchSpace

__all__ = ["GeneticSearch"]


class GeneticSearch(AutoMLSearcher):
    """Evolves points of a space.

    Args:
        search_space: of the parameters.
        reward_attr: the reported value that is maximized.
        max_generation: how many rounds.
        population_size: points of the first round.
        population_decay: by which the size shrinks from round to round, at least to 3 points.
        keep_top_ratio: the share of points that the next round is made of.
        selection_bound: a new point is one of the best as it is with this probability;
        crossover_bound: a mix of two of the best with this one; else a random point.
    """

    def __init__(
        self,
        search_space: SearchSpace,
        reward_attr: str,
        max_generation: int = 2,
        population_size: int = 10,
        population_decay: float = 0.95,
        keep_top_ratio: float = 0.2,
        selection_bound: float = 0.4,
        crossover_bound: float = 0.4,
    ) -> None:
        super().__init__(search_space, reward_attr)
        self._max_generation = max_generation
        self._generation = 1
        self._size = population_size
        self._decay = population_decay
        self._keep_top_ratio = keep_top_ratio
        self._selection_bound = selection_bound
        self._crossover_bound = crossover_bound
        self._population = [search_space.generate_random_one_hot_encoding() for _ in range(population_size)]

    def _select(self) -> list[dict[str, Any]]:
        return [self.search_space.apply_one_hot_encoding(point) for point in self._population]

    def _feedback(self, rewards: list[float]) -> bool:
        self._generation += 1
        if self._generation > self._max_generation:
            return True
        ranked = [self._population[at] for at in np.argsort(rewards)[::-1]]
        best = ranked[: max(2, int(len(ranked) * self._keep_top_ratio))]
        self._size = max(int(self._size * self._decay), 3)
        self._population = [self._child(best) for _ in range(self._size)]
        return False

    def _child(self, best: list[list[np.ndarray]]) -> list[np.ndarray]:
        chance = random.random()
        if chance < self._selection_bound:
            return list(random.choice(best))
        if chance < self._selection_bound + self._crossover_bound:
            pairs = zip(*random.sample(best, 2), strict=True)
            return [random.choice(pair) for pair in pairs]
        return self.search_space.generate_random_one_hot_encoding()
