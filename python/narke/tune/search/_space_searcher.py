"""What searchers that wrap a library have in common: space, metric, points given beforehand, state."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Callable
from typing import Any

from narke.tune.result import DEFAULT_METRIC
from narke.tune.search import UNDEFINED_METRIC_MODE, UNDEFINED_SEARCH_SPACE
from narke.tune.search.sample import Domain
from narke.tune.search.searcher import Searcher, pickle_state, unpickle_state
from narke.tune.search.util import flattened, unflattened
from narke.tune.search.variant_generator import parse_spec_vars

__all__ = [
    "ModelSearcher",
    "PointSearcher",
    "SpaceSearcher",
    "converted",
    "domains_of",
    "library",
    "missing_package",
    "with_constants",
]


def missing_package(searcher: str, package: str, error: Exception) -> ImportError:
    """The error of a searcher whose library is not installed."""
    return ImportError(f"{searcher} needs the package {package}: pip install {package} ({error})")


def library(searcher: str, package: str, module: str) -> Any:
    """A module of a search library.

    Args:
        searcher: that needs it.
        package: to install.
        module: to import.

    Raises:
        ImportError: it is not installed; the text says what to install.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing_package(searcher, package, error) from error


def domains_of(spec: dict[str, Any], searcher: str) -> tuple[dict[str, Any], dict[str, Domain]]:
    """The constants and the domains of a search space by name ("a/b" for nested ones).

    Raises:
        ValueError: it has a grid.
    """
    resolved, domains, grids = parse_spec_vars(spec)
    if grids:
        names = ["/".join(map(str, path)) for path, _ in grids]
        raise ValueError(
            f"Grid search parameters cannot be automatically converted to a {searcher} search space: {names}. Use "
            "tune.choice for them"
        )
    named = {"/".join(map(str, path)): domain for path, domain in domains}
    return {"/".join(map(str, path)): value for path, value in resolved}, named


def with_constants(constants: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A nested configuration of constants and values by name."""
    return unflattened({**constants, **values})


def converted(
    spec: dict[str, Any], searcher: str, domain: Callable[[str, Any], Any], join: bool
) -> dict[str, Any]:
    """A library's domains of a space of Tune by name.

    Args:
        spec: the space.
        searcher: for the text of errors.
        domain: makes the library's domain of a name and Tune's.
        join: with the constants.

    Raises:
        ValueError: the space has a grid, or `domain` refuses one.
    """
    constants, domains = domains_of(spec, searcher)
    found = {name: domain(name, each) for name, each in domains.items()}
    return {**unflattened(constants), **found} if join else found


class SpaceSearcher(Searcher):
    """Suggests what a library's optimizer asks for.

    Subclasses implement `_setup` (makes the optimizer from `_space`), `_ask` and `_tell`.

    Args:
        space: in the library's terms or in Tune's; the experiment's if None.
        metric, mode: what is optimized; the experiment's if None.
        points_to_evaluate: configurations to try first.
    """

    _title = "searcher"
    # Said with the error of a missing space.
    _space_hint = ""

    def __init__(
        self,
        space: Any = None,
        metric: str | list[str] | None = None,
        mode: str | list[str] | None = None,
        points_to_evaluate: list[dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(metric=metric, mode=mode)
        if isinstance(mode, str) and mode not in ("min", "max"):
            raise ValueError(f"`mode` must be 'min' or 'max', not {mode!r}")
        self._space = copy.copy(space)
        self._constants: dict[str, Any] = {}
        self._points_to_evaluate = [flattened(point) for point in points_to_evaluate or []]
        self._live: dict[str, Any] = {}
        self._optimizer: Any = None
        if isinstance(self._space, dict) and self._space and self._is_of_tune(self._space):
            self._space = self._take_space(self._space)
        if self._has_space():
            self._setup_when_ready()

    def _has_space(self) -> bool:
        """Whether there is a space; a library's own object need not tell."""
        return self._space is not None and (not isinstance(self._space, (dict, list)) or len(self._space) > 0)

    @staticmethod
    def _is_of_tune(space: dict[str, Any]) -> bool:
        _, domains, grids = parse_spec_vars(space)
        return bool(domains or grids)

    def _take_space(self, config: dict[str, Any]) -> Any:
        constants, _ = domains_of(config, self._title)
        self._constants = constants
        return type(self).convert_search_space(config)  # type: ignore[attr-defined]

    def _setup_when_ready(self) -> None:
        if self._metric is None and self._mode:
            if isinstance(self._mode, list):
                raise ValueError("several modes need several metrics: pass metric=[...]")
            self._metric = DEFAULT_METRIC
        self._setup(self._mode)

    def _setup(self, mode: Any) -> None:
        raise NotImplementedError

    def _ask(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next values by name."""
        raise NotImplementedError

    def _tell(self, trial_id: str, value: float) -> None:
        """Learn a trial's value, as the metric has it."""
        raise NotImplementedError

    def _tell_last(self, trial_id: str, result: dict[str, Any]) -> None:
        """Learn a trial's last result, which has a value."""
        self._tell(trial_id, result[self._metric])  # type: ignore[index]

    def _tell_failure(self, trial_id: str) -> None:
        """Learn that a trial gave no value."""
        self._live.pop(trial_id, None)

    @property
    def _metric_op(self) -> float:
        """1 where greater is better, -1 where less is."""
        return -1.0 if self._mode == "min" else 1.0

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """Take metric, mode and space from the experiment, unless this has its own space."""
        if self._has_space():
            if (metric and not self._metric) or (mode and not self._mode):
                # Its own space, and the experiment's aim.
                self._metric, self._mode = self._metric or metric, self._mode or mode
                self._setup_when_ready()
                return not self._is_of_tune(config)
            return False
        self._space = self._take_space(config)
        self._metric, self._mode = metric or self._metric, mode or self._mode
        self._setup_when_ready()
        return True

    def _check_ready(self) -> None:
        if not self._has_space() or self._optimizer is None:
            raise RuntimeError(
                UNDEFINED_SEARCH_SPACE.format(cls=type(self).__name__, space="space") + self._space_hint
            )
        if not self._metric or not self._mode:
            raise RuntimeError(
                UNDEFINED_METRIC_MODE.format(cls=type(self).__name__, metric=self._metric, mode=self._mode)
            )

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the optimizer's next configuration.

        Raises:
            RuntimeError: space, metric or mode is not known.
        """
        self._check_ready()
        values = self._ask(trial_id)
        return with_constants(self._constants, values) if isinstance(values, dict) else values

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the optimizer the value."""
        if trial_id not in self._live:
            return
        value = (result or {}).get(self._metric)
        if error or result is None or value is None or value != value:
            self._tell_failure(trial_id)
        else:
            self._tell_last(trial_id, result)
            self._live.pop(trial_id, None)

    def _left_out(self) -> tuple[str, ...]:
        """Attributes that are not part of the state."""
        return ()

    def save(self, checkpoint_path: str) -> None:
        """Write the state to a file."""
        pickle_state(self, checkpoint_path, self._left_out())

    def restore(self, checkpoint_path: str) -> None:
        """Take the state from a file that `save` wrote."""
        unpickle_state(self, checkpoint_path)


class PointSearcher(SpaceSearcher):
    """A `SpaceSearcher` that also learns from points evaluated elsewhere; subclasses implement `_observe`."""

    def add_evaluated_point(
        self,
        parameters: dict[str, Any],
        value: float,
        error: bool = False,
        pruned: bool = False,
        intermediate_values: list[float] | None = None,
    ) -> None:
        """Learn from a point that was evaluated elsewhere."""
        self._check_ready()
        names = self._names_of_space()
        self._observe(
            {name: each for name, each in flattened(parameters).items() if name in names}, value, error
        )

    def _names_of_space(self) -> set[str]:
        """The parameters that the optimizer knows."""
        return set(self._space)

    def _observe(self, point: dict[str, Any], value: float, error: bool) -> None:
        """Learn a point's value."""
        raise NotImplementedError


class ModelSearcher(PointSearcher):
    """A `PointSearcher` whose attributes are its whole state: those of a model that can be pickled."""

    def get_state(self) -> dict[str, Any]:
        """Return what `set_state` takes."""
        return dict(vars(self))

    def set_state(self, state: dict[str, Any]) -> None:
        """Take a state of `get_state`."""
        vars(self).update(state)
