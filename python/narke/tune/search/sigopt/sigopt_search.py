"""`SigOptSearch`: suggestions of a SigOpt service (the client's package sigopt, up to version 7).

The service is told by SIGOPT_API_URL, the access by SIGOPT_KEY.
"""

from __future__ import annotations

import copy
import json
import os
import pickle
from typing import Any

from narke.tune._files import write_whole
from narke.tune.search._space_searcher import library
from narke.tune.search.searcher import Searcher
from narke.tune.search.util import flattened

__all__ = ["SigOptSearch", "load_sigopt_key"]

_CONFIG = "~/.sigopt/client/config.json"


def load_sigopt_key(overwrite: bool = False) -> bool:
    """Take the access from the file that ``sigopt config`` wrote.

    Args:
        overwrite: also if SIGOPT_KEY is set already.

    Returns:
        whether SIGOPT_KEY was set from the file.
    """
    path = os.path.expanduser(_CONFIG)
    if (os.environ.get("SIGOPT_KEY") and not overwrite) or not os.path.exists(path):
        return False
    with open(path, encoding="utf-8") as file:
        token = json.load(file).get("api_token")
    if token:
        os.environ["SIGOPT_KEY"] = token
    return bool(token)


class SigOptSearch(Searcher):
    """Suggests what a SigOpt service does.

    Args:
        space: SigOpt's parameters, ``[{"name": "x", "type": "double", "bounds": {"min": 0, "max": 1}}, ...]``; not with
            `experiment_id`.
        name: of the experiment that is made.
        max_concurrent: trials under way at once, as the service is told.
        connection: a ``sigopt.Connection``; one with SIGOPT_KEY if None.
        experiment_id: an experiment that the service has already.
        observation_budget: how many trials there will be; needed for several metrics.
        project: of the experiment.
        metric: one or a list.
        mode: "max", "min", "obs" (only stored), or a list of them, one for each metric.
        points_to_evaluate: configurations to try first.
        kwargs: kept for programs that pass more.

    Raises:
        ImportError: the client is not installed.
        ValueError: no space and no experiment, both, modes that do not fit, or no access.
    """

    OBJECTIVE_MAP = {
        "max": {"objective": "maximize", "strategy": "optimize"},
        "min": {"objective": "minimize", "strategy": "optimize"},
        "obs": {"strategy": "store"},
    }

    def __init__(
        self,
        space: list[dict[str, Any]] | None = None,
        name: str = "Default Tune Experiment",
        max_concurrent: int = 1,
        connection: Any = None,
        experiment_id: str | None = None,
        observation_budget: int | None = None,
        project: str | None = None,
        metric: str | list[str] | None = "episode_reward_mean",
        mode: str | list[str] | None = "max",
        points_to_evaluate: list[dict[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        client = library("SigOptSearch", "sigopt", "sigopt")
        self._check(space, experiment_id, metric, mode, observation_budget)
        super().__init__(metric=metric, mode=mode, **kwargs)
        self.conn = connection if connection is not None else _connected(client)
        self._max_concurrent = max_concurrent
        self._points_to_evaluate = copy.deepcopy(points_to_evaluate or [])
        self._live: dict[str, Any] = {}
        self._metrics = [metric] if isinstance(metric, str) else list(metric or [])
        if experiment_id is not None:
            self.experiment = self.conn.experiments(experiment_id).fetch()
            return
        options = {"observation_budget": observation_budget, "project": project}
        self.experiment = self.conn.experiments().create(
            name=name,
            parameters=space,
            parallel_bandwidth=max_concurrent,
            metrics=self.serialize_metric(
                self._metrics, [mode] if isinstance(mode, str) else list(mode or [])
            ),
            **{key: value for key, value in options.items() if value is not None},
        )

    def _check(self, space: Any, experiment_id: Any, metric: Any, mode: Any, budget: Any) -> None:
        if (space is None) == (experiment_id is None):
            raise ValueError("SigOptSearch needs either space= or experiment_id=")
        metrics = [metric] if isinstance(metric, str) else list(metric or [])
        modes = [mode] if isinstance(mode, str) else list(mode or [])
        unknown = [each for each in modes if each not in self.OBJECTIVE_MAP]
        if unknown or len(metrics) != len(modes):
            raise ValueError(
                f"metric {metric!r} and mode {mode!r} do not fit: each metric has one of {list(self.OBJECTIVE_MAP)}"
            )
        if len(metrics) > 1 and experiment_id is None and budget is None:
            raise ValueError("several metrics need observation_budget=, the number of trials")

    def set_search_properties(
        self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
    ) -> bool:
        """False: metric, mode and space are the service's."""
        return False

    def set_max_concurrency(self, max_concurrent: int) -> bool:
        """Note how many trials may be under way."""
        self._max_concurrent = max_concurrent
        return True

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """Return the service's next configuration; None while enough are under way."""
        if self._max_concurrent and len(self._live) >= self._max_concurrent:
            return None
        suggestions = self.conn.experiments(self.experiment.id).suggestions()
        if self._points_to_evaluate:
            suggestion = suggestions.create(assignments=self._points_to_evaluate.pop(0))
        else:
            suggestion = suggestions.create()
        self._live[trial_id] = suggestion.id
        return dict(suggestion.assignments)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Tell the service the values, or that the trial failed."""
        if trial_id not in self._live:
            return
        observations = self.conn.experiments(self.experiment.id).observations()
        values = None if error or not result else self.serialize_result(result)
        if values is None or any(each["value"] != each["value"] for each in values):
            observations.create(failed=True, suggestion=self._live[trial_id])
        else:
            observations.create(suggestion=self._live[trial_id], values=values)
        self.experiment = self.conn.experiments(self.experiment.id).fetch()
        del self._live[trial_id]

    @staticmethod
    def serialize_metric(metrics: list[str], modes: list[str]) -> list[dict[str, str]]:
        """The metrics as SigOpt has them."""
        return [
            {"name": metric, **SigOptSearch.OBJECTIVE_MAP[mode]}
            for metric, mode in zip(metrics, modes, strict=True)
        ]

    def serialize_result(self, result: dict[str, Any]) -> list[dict[str, Any]]:
        """A result's values as SigOpt has them.

        Raises:
            ValueError: a metric is missing.
        """
        flat = flattened(result)
        missing = [metric for metric in self._metrics if metric not in flat]
        if missing:
            raise ValueError(
                f"the result has no {', '.join(missing)}, which SigOptSearch optimizes: {sorted(flat)}"
            )
        return [{"name": metric, "value": flat[metric]} for metric in self._metrics]

    def save(self, checkpoint_path: str) -> None:
        """Write which experiment this is, and what is under way, to a file."""
        write_whole(checkpoint_path, pickle.dumps((self.experiment.id, self._live, self._points_to_evaluate)))

    def restore(self, checkpoint_path: str) -> None:
        """Go on with the experiment of a file that `save` wrote."""
        with open(checkpoint_path, "rb") as file:
            identifier, self._live, self._points_to_evaluate = pickle.load(file)
        self.experiment = self.conn.experiments(identifier).fetch()


def _connected(client: Any) -> Any:
    if "SIGOPT_KEY" not in os.environ and not load_sigopt_key():
        raise ValueError(
            "SigOpt needs its API token in SIGOPT_KEY; `sigopt config` makes a file that has it, too"
        )
    return client.Connection(client_token=os.environ["SIGOPT_KEY"])
