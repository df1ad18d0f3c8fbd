"""Searches that make trials in rounds: a round begins when the one before has ended."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any

from narke.tune.automl.search_space import SearchSpace
from narke.tune.search.search_algorithm import SearchAlgorithm
from narke.tune.search.util import merged_config
from narke.tune.search.variant_generator import format_vars

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["AutoMLSearcher", "GridSearch", "RandomSearch"]

logger = logging.getLogger(__name__)


class AutoMLSearcher(SearchAlgorithm):
    """Subclasses say what a round tries (`_select`) and learn from it (`_feedback`).

    Args:
        search_space: of the parameters.
        reward_attr: the reported value that is maximized.
    """

    def __init__(self, search_space: SearchSpace, reward_attr: str) -> None:
        self.search_space = search_space
        self.reward_attr = reward_attr
        self.best_trial: str | None = None
        self.best_reward = float("-inf")
        self.best_parameters: dict[str, Any] | None = None
        self._experiment: Any = None
        self._queue: list[Trial] = []
        self._under_way: dict[str, dict[str, Any]] = {}
        self._rewards: dict[str, float] = {}
        self._counter = 0

    @property
    def total_samples(self) -> int:
        """How many trials there are so far."""
        return self._counter

    def add_configurations(self, experiments: Any) -> None:
        """Take the experiment, and make the first round.

        Raises:
            ValueError: there is more than one.
        """
        from narke.tune.experiment.experiment import _convert_to_experiment_list

        found = _convert_to_experiment_list(experiments)
        if len(found) != 1 or self._experiment is not None:
            raise ValueError(f"{type(self).__name__} works on one experiment")
        self._experiment = found[0]
        self._begin_round()

    def _begin_round(self) -> None:
        from narke.tune.experiment.config_parser import create_trial_from_spec
        from narke.tune.experiment.trial import Trial

        spec, self._under_way, self._rewards = self._experiment.spec, {}, {}
        for parameters in self._select():
            self._counter += 1
            tid = Trial.generate_id()
            tag = f"{self._counter}_{format_vars({(name,): each for name, each in parameters.items()})}"
            config = merged_config(spec.get("config") or {}, parameters)
            self._queue.append(
                create_trial_from_spec(
                    {**spec, "config": config},
                    self._experiment.dir_name,
                    trial_id=tid,
                    evaluated_params=parameters,
                    experiment_tag=tag,
                )
            )
            self._under_way[tid] = parameters

    def next_trial(self) -> Trial | None:
        """Return the round's next trial; None when all of them are made."""
        return self._queue.pop(0) if self._queue else None

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note the reward; the next round begins with the last of a round."""
        if trial_id not in self._under_way or trial_id in self._rewards:
            return
        value = None if error else (result or {}).get(self.reward_attr)
        reward = float("-inf") if value is None or value != value else float(value)
        self._rewards[trial_id] = reward
        if reward > self.best_reward:
            self.best_trial, self.best_reward = trial_id, reward
            self.best_parameters = self._under_way[trial_id]
        if len(self._rewards) < len(self._under_way):
            return
        logger.info("best reward so far: %s with %s", self.best_reward, self.best_parameters)
        if self._feedback(list(self._rewards.values())) or self._finished:
            self._finished = True
        else:
            self._begin_round()

    def is_finished(self) -> bool:
        """Whether no trial will come."""
        return self._finished and not self._queue

    def set_finished(self) -> None:
        """Make no more trials."""
        super().set_finished()
        self._queue = []

    def _select(self) -> list[dict[str, Any]]:
        """The parameters of a round's trials."""
        raise NotImplementedError

    def _feedback(self, rewards: list[float]) -> bool:
        """Learn the rewards of a round, in its order; returns whether it was the last."""
        return True


class GridSearch(AutoMLSearcher):
    """All combinations of the values, in one round.

    Args:
        search_space: of the parameters.
        reward_attr: the reported value that is maximized.
    """

    def _select(self) -> list[dict[str, Any]]:
        spaces = self.search_space.param_list
        return [
            dict(zip(spaces, values, strict=True))
            for values in itertools.product(*(space.choices for space in spaces.values()))
        ]


class RandomSearch(AutoMLSearcher):
    """Random draws, in one round.

    Args:
        search_space: of the parameters.
        reward_attr: the reported value that is maximized.
        repeat: how many.
    """

    def __init__(self, search_space: SearchSpace, reward_attr: str, repeat: int) -> None:
        super().__init__(search_space, reward_attr)
        self.repeat = repeat

    def _select(self) -> list[dict[str, Any]]:
        space = self.search_space
        return [
            space.apply_one_hot_encoding(space.generate_random_one_hot_encoding()) for _ in range(self.repeat)
        ]
