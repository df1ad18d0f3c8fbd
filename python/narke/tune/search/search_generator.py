"""`SearchGenerator`: makes trials of a searcher's suggestions."""

from __future__ import annotations

import glob
import json
import logging
import os
from typing import TYPE_CHECKING, Any

from narke.tune._files import write_whole
from narke.tune.search.search_algorithm import SearchAlgorithm
from narke.tune.search.searcher import Searcher
from narke.tune.search.util import (
    flattened,
    merged_config,
    set_search_properties_backwards_compatible,
    unflattened,
)
from narke.tune.search.variant_generator import format_vars, has_unresolved_values

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["SearchGenerator"]

logger = logging.getLogger(__name__)
_STATE_FILE = "search_gen_state-{}.json"


class SearchGenerator(SearchAlgorithm):
    """Makes a trial of each suggestion, up to the experiment's number of samples.

    Args:
        searcher: the searcher.
    """

    CKPT_FILE_TMPL = _STATE_FILE

    def __init__(self, searcher: Searcher) -> None:
        if not isinstance(searcher, Searcher):
            raise TypeError(
                f"a searcher derives from narke.tune.search.Searcher; {type(searcher).__name__} does not"
            )
        self.searcher = searcher
        self._experiment: Any = None
        self._counter = 0
        self._total_samples: float = 0
        self._finished = False

    @property
    def metric(self) -> Any:
        """What the searcher optimizes."""
        return self.searcher.metric

    @property
    def total_samples(self) -> Any:
        """How many trials there will be."""
        return self._total_samples

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Pass on to the searcher."""
        return set_search_properties_backwards_compatible(
            self.searcher.set_search_properties, metric, mode, config, **spec
        )

    def add_configurations(self, experiments: Any) -> None:
        """Take the experiment to make trials of.

        Raises:
            ValueError: there is more than one.
        """
        from narke.tune.experiment.experiment import _convert_to_experiment_list

        found = _convert_to_experiment_list(experiments)
        if len(found) != 1 or self._experiment is not None:
            raise ValueError(
                "a searcher works on one experiment; run several with run_experiments without one"
            )
        self._experiment = found[0]
        samples = self._experiment.spec.get("num_samples", 1)
        self._total_samples = float("inf") if samples < 0 else samples

    def next_trial(self) -> Trial | None:
        """Return a trial of the next suggestion; None when there is none now."""
        if self.is_finished() or self._experiment is None:
            return None
        if self._counter >= self._total_samples:
            self._finished = True
            return None
        return self.create_trial_if_possible(self._experiment.spec)

    def create_trial_if_possible(self, experiment_spec: dict[str, Any]) -> Trial | None:
        """Ask the searcher, and make a trial of what it suggests.

        Args:
            experiment_spec: what all trials have in common.
        """
        from narke.tune.experiment.config_parser import create_trial_from_spec
        from narke.tune.experiment.trial import Trial

        trial_id = Trial.generate_id()
        suggestion: Any = self.searcher.suggest(trial_id)
        if suggestion == Searcher.FINISHED:
            self._finished = True
            logger.debug("the searcher has finished")
            return None
        if suggestion is None:
            return None
        config = merged_config(experiment_spec.get("config") or {}, unflattened(suggestion))
        if has_unresolved_values(config):
            raise ValueError(
                f"{type(self.searcher).__name__} left search spaces in the configuration {config}: give the whole "
                "space either to the searcher or to the experiment"
            )
        named = flattened(suggestion)
        self._counter += 1
        tag = f"{self._counter}_{format_vars({tuple(k.split('/')): v for k, v in named.items()})}"
        return create_trial_from_spec(
            {**experiment_spec, "config": config},
            self._experiment.dir_name,
            trial_id=trial_id,
            evaluated_params=named,
            experiment_tag=tag,
        )

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Pass on."""
        self.searcher.on_trial_result(trial_id, result)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Pass on."""
        self.searcher.on_trial_complete(trial_id=trial_id, result=result, error=error)

    def is_finished(self) -> bool:
        """Whether no trial will come."""
        return self._finished or (self._experiment is not None and self._counter >= self._total_samples)

    # ---- state

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` takes."""
        return {"counter": self._counter, "finished": self._finished}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on counting where the state was."""
        self._counter = state["counter"]
        self._finished = state["finished"]

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether a folder holds a state of this."""
        return bool(glob.glob(os.path.join(dirpath, _STATE_FILE.format("*"))))

    def save_to_dir(self, dirpath: str, session_str: str = "default", **kwargs: Any) -> None:
        """Write the searcher's state and this one's into a folder."""
        self.searcher.save_to_dir(dirpath, session_str)
        write_whole(os.path.join(dirpath, _STATE_FILE.format(session_str)), json.dumps(self.get_state()))

    def restore_from_dir(self, dirpath: str) -> None:
        """Take the newest state in a folder."""
        self.searcher.restore_from_dir(dirpath)
        found = glob.glob(os.path.join(dirpath, _STATE_FILE.format("*")))
        if found:
            with open(max(found, key=os.path.getmtime), encoding="utf-8") as file:
                self.set_state(json.load(file))
