"""`BasicVariantGenerator`: grids and random draws, without learning."""

from __future__ import annotations

import copy
import glob
import itertools
import json
import os
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from narke.tune._files import write_whole
from narke.tune.error import TuneError
from narke.tune.search.sample import RandomState, _rng
from narke.tune.search.search_algorithm import SearchAlgorithm
from narke.tune.search.util import flattened
from narke.tune.search.variant_generator import (
    _copy_containers,
    assign_value,
    format_vars,
    generate_variants,
    parse_spec_vars,
)

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["SERIALIZATION_THRESHOLD", "BasicVariantGenerator"]

SERIALIZATION_THRESHOLD = 1e6
_STATE_FILE = "basic-variant-state-{}.json"


class BasicVariantGenerator(SearchAlgorithm):
    """Expands grids and draws from domains; the default of Tune.

    Args:
        points_to_evaluate: configurations to try first; they count as samples.
        max_concurrent: how many trials may be under way; 0 for no limit.
        constant_grid_search: draw once a sample, the same values for all combinations of its grids.
        random_state: seed or generator of the draws; None draws from numpy's global generator.
    """

    CKPT_FILE_TMPL = _STATE_FILE

    def __init__(
        self,
        points_to_evaluate: list[dict[str, Any]] | None = None,
        max_concurrent: int = 0,
        constant_grid_search: bool = False,
        random_state: RandomState = None,
    ) -> None:
        self._points = list(points_to_evaluate or [])
        self.max_concurrent = max_concurrent
        self._constant_grid_search = constant_grid_search
        self._rng = _rng(random_state)
        self._prefix = uuid.uuid4().hex[:5] + "_"
        self._made = 0
        self._skip: set[str] = set()
        self._iterator: Iterator[Trial] | None = None
        self._total_samples: Any = 0
        self._live: set[str] = set()
        self._finished = False
        self._exhausted = False

    @property
    def total_samples(self) -> int:
        """How many trials there will be."""
        return self._total_samples

    def add_configurations(self, experiments: Any) -> None:
        """Take experiments, each with its specification and number of samples."""
        from narke.tune.experiment.experiment import _convert_to_experiment_list

        added = []
        for experiment in _convert_to_experiment_list(experiments):
            count = _count_variants(experiment.spec, len(self._points))
            self._total_samples += count
            added.append(self._trials(experiment.dir_name, experiment.spec))
        self._iterator = itertools.chain(self._iterator or iter(()), *added)
        self._finished = self._exhausted = False

    def next_trial(self) -> Trial | None:
        """Return the next trial, None when all are made or enough are under way."""
        if self.is_finished():
            return None
        if self.max_concurrent > 0 and len(self._live) >= self.max_concurrent:
            return None
        trial = next(self._iterator, None) if self._iterator is not None else None
        if trial is None:
            self.set_exhausted()
            return None
        self._live.add(trial.trial_id)
        return trial

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note that one trial less is under way."""
        self._live.discard(trial_id)

    def _trials(self, dir_name: str, spec: dict[str, Any]) -> Iterator[Trial]:
        from narke.tune.experiment.config_parser import create_trial_from_spec

        for resolved, variant in self._variants(spec):
            trial_id = f"{self._prefix}{self._made:05d}"
            tag = str(self._made)
            if resolved:
                tag += "_" + format_vars(resolved)
            self._made += 1
            if trial_id in self._skip:
                continue
            yield create_trial_from_spec(
                variant, dir_name, trial_id=trial_id, evaluated_params=_by_name(resolved), experiment_tag=tag
            )

    def _variants(self, spec: dict[str, Any]) -> Iterator[tuple[dict, dict]]:
        samples = spec.get("num_samples", 1)
        endless = samples < 0
        unresolved = {key: value for key, value in spec.items() if key in ("config", "run")}
        rest = {key: value for key, value in spec.items() if key not in unresolved}
        done = 0
        points = list(self._points)
        while endless or done < max(samples, len(self._points)):
            one = _with_point(unresolved, points.pop(0)) if points else unresolved
            for resolved, variant in generate_variants(one, self._constant_grid_search, self._rng):
                yield resolved, {**rest, **variant}
            done += 1

    # ---- state

    @property
    def is_exhausted(self) -> bool:
        """Whether all trials were made; one that was told to make no more is not."""
        return self._exhausted

    def set_exhausted(self) -> None:
        """Know that all trials were made, so that they need not be generated again to be skipped."""
        self._exhausted = self._finished = True

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` takes."""
        return {"prefix": self._prefix, "made": self._made}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on after the trials made before: variants are generated again in the same order and those skipped."""
        self._prefix = state["prefix"]
        self._skip = {f"{self._prefix}{number:05d}" for number in range(state["made"])}

    def save_to_dir(self, dirpath: str, session_str: str = "default", **kwargs: Any) -> None:
        """Write the state into a folder."""
        write_whole(os.path.join(dirpath, _STATE_FILE.format(session_str)), json.dumps(self.get_state()))

    def has_checkpoint(self, dirpath: str) -> bool:
        """Whether a folder holds a state of this."""
        return bool(glob.glob(os.path.join(dirpath, _STATE_FILE.format("*"))))

    def restore_from_dir(self, dirpath: str) -> None:
        """Take the newest state in a folder.

        Raises:
            RuntimeError: there is none.
        """
        found = glob.glob(os.path.join(dirpath, _STATE_FILE.format("*")))
        if not found:
            raise RuntimeError(f"there is no state of a BasicVariantGenerator in {dirpath}")
        with open(max(found, key=os.path.getmtime), encoding="utf-8") as file:
            self.set_state(json.load(file))


def _by_name(resolved: dict[tuple, Any]) -> dict[str, Any]:
    """The variables by their name in the configuration: "a/b"."""
    return {"/".join(str(key) for key in path if key != "config"): value for path, value in resolved.items()}


def _count_variants(spec: dict[str, Any], points: int) -> float:
    samples = spec.get("num_samples", 1)
    if samples < 0:
        return float("inf")
    _, _, grids = parse_spec_vars({"config": spec.get("config") or {}})
    combinations = 1
    for _, values in grids:
        combinations *= len(values)
    return max(samples, points) * combinations


def _with_point(spec: dict[str, Any], point: dict[str, Any]) -> dict[str, Any]:
    """The specification with the values of a point in place of variables."""
    placed = _copy_containers(spec)
    _, domains, grids = parse_spec_vars(spec)
    variables = dict(domains + grids)
    for name, value in flattened(point).items():
        path = ("config", *name.split("/")) if isinstance(name, str) else ("config", name)
        if path in variables:
            assign_value(placed, path, value)
        else:
            placed["config"] = _assigned(placed["config"], path[1:], value)
    return placed


def _assigned(config: dict[str, Any], path: tuple, value: Any) -> dict[str, Any]:
    try:
        changed = copy.copy(config)
        if len(path) == 1:
            changed[path[0]] = value
        else:
            changed[path[0]] = _assigned(config.get(path[0], {}), path[1:], value)
        return changed
    except (TypeError, AttributeError) as error:
        raise TuneError(
            f"points_to_evaluate sets {'/'.join(path)}, which the search space has not"
        ) from error
