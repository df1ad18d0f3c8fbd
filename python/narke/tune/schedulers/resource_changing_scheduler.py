"""`ResourceChangingScheduler`: gives trials other resources while the experiment runs."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.tune.execution.placement_groups import PlacementGroupFactory
from narke.tune.experiment.trial import Trial
from narke.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler

if TYPE_CHECKING:
    from narke.tune.execution.tune_controller import TuneController

__all__ = ["DistributeResources", "DistributeResourcesToTopJob", "ResourceChangingScheduler"]

logger = logging.getLogger(__name__)


class DistributeResources:
    """Divides the cluster's CPUs and GPUs evenly among the trials that run.

    Args:
        add_bundles: add bundles like the last one; else make the first one greater.
        increase_by: what a trial gets more of in one step; its base resources if None.
        increase_by_times: the most steps; -1 for no limit.
        reserve_resources: what is left for other work.

    Raises:
        ValueError: an amount is negative.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: dict[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: dict[str, float] | None = None,
    ) -> None:
        for given in (increase_by, reserve_resources):
            if given and any(amount < 0 for amount in given.values()):
                raise ValueError(f"resources must be at least 0: {given}")
        self.add_bundles = add_bundles
        self.increase_by = {name: amount for name, amount in (increase_by or {}).items() if amount}
        self.increase_by_times = increase_by_times
        self.reserve_resources = reserve_resources or {}

    def __call__(
        self,
        tune_controller: TuneController,
        trial: Trial,
        result: dict[str, Any],
        scheduler: ResourceChangingScheduler,
    ) -> PlacementGroupFactory | None:
        """Return what a trial shall hold, None for what it holds."""
        base = scheduler.base_trial_resources or PlacementGroupFactory([{"CPU": 1}])
        if any(other.status == Trial.PENDING for other in tune_controller.get_live_trials()):
            return base  # they need the room
        step = self.increase_by or {
            name: amount for name, amount in base.required_resources.items() if name in ("CPU", "GPU")
        }
        steps = self._steps(tune_controller, trial, base.required_resources, step, scheduler)
        return self._grown(base, step, steps)

    def _live(self, tune_controller: TuneController) -> list[Trial]:
        live = [trial for trial in tune_controller.get_live_trials() if trial.status != Trial.PENDING]
        return sorted(live, key=lambda trial: trial.trial_id)

    def _available(self) -> dict[str, float]:
        import narke

        total = narke.cluster_resources()
        return {name: total.get(name, 0) - self.reserve_resources.get(name, 0) for name in ("CPU", "GPU")}

    def _steps(
        self,
        tune_controller: TuneController,
        trial: Trial,
        base: dict[str, float],
        step: dict[str, float],
        scheduler: ResourceChangingScheduler,
    ) -> int:
        """How many steps above its base resources a trial gets: an even share; the first ones get what is over."""
        live = self._live(tune_controller)
        place = live.index(trial) if trial in live else 0
        count = max(1, len(live))
        total_steps = self._free_steps(count, base, step)
        return self._limited(total_steps // count + (place < total_steps % count))

    def _free_steps(self, count: int, base: dict[str, float], step: dict[str, float]) -> int:
        """How many steps fit beside `count` trials with their base resources."""
        available = self._available()
        fit = (
            math.floor((available.get(name, 0) - count * base.get(name, 0)) / amount)
            for name, amount in step.items()
            if amount
        )
        return max(0, min(fit, default=0))

    def _limited(self, steps: int) -> int:
        return steps if self.increase_by_times < 0 else min(steps, self.increase_by_times)

    def _grown(
        self, base: PlacementGroupFactory, step: dict[str, float], steps: int
    ) -> PlacementGroupFactory:
        bundles = [{}, *base.bundles] if base.head_bundle_is_empty else base.bundles
        if self.add_bundles:
            bundles = [*bundles, *[dict(step) for _ in range(steps)]]
        else:
            place = 1 if base.head_bundle_is_empty and len(bundles) > 1 else 0
            bundles[place] = {
                name: bundles[place].get(name, 0) + steps * step.get(name, 0)
                for name in {**bundles[place], **step}
            }
        return PlacementGroupFactory(bundles, strategy=base.strategy)


class DistributeResourcesToTopJob(DistributeResources):
    """Gives all free CPUs and GPUs to the best trial.

    Args:
        add_bundles, increase_by, increase_by_times, reserve_resources: see `DistributeResources`.
        metric, mode: by which it is the best; the scheduler's if None.
    """

    def __init__(
        self,
        add_bundles: bool = False,
        increase_by: dict[str, float] | None = None,
        increase_by_times: int = -1,
        reserve_resources: dict[str, float] | None = None,
        metric: str | None = None,
        mode: str | None = None,
    ) -> None:
        super().__init__(add_bundles, increase_by, increase_by_times, reserve_resources)
        self.metric = metric
        self.mode = mode

    def _steps(
        self,
        tune_controller: TuneController,
        trial: Trial,
        base: dict[str, float],
        step: dict[str, float],
        scheduler: ResourceChangingScheduler,
    ) -> int:
        metric = self.metric or scheduler.metric
        mode = self.mode or getattr(scheduler._base_scheduler, "_mode", None)
        if not metric or mode not in ("min", "max"):
            raise ValueError(
                "DistributeResourcesToTopJob needs `metric` and `mode`: pass them to it or to the experiment"
            )
        live = self._live(tune_controller)
        sign = 1.0 if mode == "max" else -1.0
        best = max(
            live,
            key=lambda each: sign * (each.last_result or {}).get(metric, -sign * math.inf),
            default=trial,
        )
        if best is not trial:
            return 0
        return self._limited(self._free_steps(max(1, len(live)), base, step))


_EVENLY = DistributeResources()


class ResourceChangingScheduler(TrialScheduler):
    """Asks a function after each result whether the trial shall hold other resources; if so the trial is paused and
    goes on with them from a checkpoint.

    Args:
        base_scheduler: decides everything else; `FIFOScheduler` if None.
        resources_allocation_function: of (controller, trial, result, scheduler), returns a `PlacementGroupFactory` or
            None.
    """

    def __init__(
        self,
        base_scheduler: TrialScheduler | None = None,
        resources_allocation_function: Callable | None = _EVENLY,
    ) -> None:
        super().__init__()
        if resources_allocation_function is None:
            logger.warning("resources_allocation_function is None: no resources will be changed")
        self._resources_allocation_function = resources_allocation_function
        self._base_scheduler = base_scheduler or FIFOScheduler()
        self._base_trial_resources: PlacementGroupFactory | None = None
        self._reallocated: dict[Trial, PlacementGroupFactory] = {}
        self._metric = None

    @property
    def metric(self) -> Any:
        """What the base scheduler compares."""
        return self._base_scheduler.metric

    @property
    def base_trial_resources(self) -> PlacementGroupFactory | None:
        """What trials hold at first."""
        return self._base_trial_resources

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Pass on."""
        return self._base_scheduler.set_search_properties(metric, mode, **spec)

    def on_trial_add(self, tune_controller: TuneController, trial: Trial, **kwargs: Any) -> None:
        """Note what trials hold at first.

        Raises:
            RuntimeError: trials hold different resources.
        """
        if self._base_trial_resources is None:
            self._base_trial_resources = trial.placement_group_factory
        self._base_scheduler.on_trial_add(tune_controller, trial, **kwargs)

    def on_trial_error(self, tune_controller: TuneController, trial: Trial, **kwargs: Any) -> None:
        """Pass on."""
        self._reallocated.pop(trial, None)
        self._base_scheduler.on_trial_error(tune_controller, trial, **kwargs)

    def on_trial_result(self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]) -> str:
        """PAUSE a trial that shall hold other resources."""
        decision = self._base_scheduler.on_trial_result(tune_controller, trial, result)
        if decision != TrialScheduler.CONTINUE:
            return decision
        resources = self.reallocate_trial_resources_if_needed(tune_controller, trial, result)
        if resources is None:
            return decision
        self._reallocated[trial] = resources
        return TrialScheduler.PAUSE

    def on_trial_complete(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any], **kwargs: Any
    ) -> None:
        """Pass on."""
        self._reallocated.pop(trial, None)
        self._base_scheduler.on_trial_complete(tune_controller, trial, result, **kwargs)

    def on_trial_remove(self, tune_controller: TuneController, trial: Trial, **kwargs: Any) -> None:
        """Pass on."""
        self._reallocated.pop(trial, None)
        self._base_scheduler.on_trial_remove(tune_controller, trial, **kwargs)

    def choose_trial_to_run(self, tune_controller: TuneController, **kwargs: Any) -> Trial | None:
        """Give waiting trials their new resources; then as the base scheduler chooses."""
        for trial, resources in list(self._reallocated.items()):
            if trial.status in (Trial.PAUSED, Trial.PENDING):
                self.set_trial_resources(trial, resources)
                del self._reallocated[trial]
        return self._base_scheduler.choose_trial_to_run(tune_controller, **kwargs)

    def set_trial_resources(self, trial: Trial, new_resources: dict | PlacementGroupFactory) -> bool:
        """Change what a trial holds; returns whether that is another request."""
        before = trial.placement_group_factory
        trial.update_resources(new_resources)
        return trial.placement_group_factory != before

    def reallocate_trial_resources_if_needed(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> PlacementGroupFactory | None:
        """Ask the function; returns the new resources, None if they stay."""
        if self._resources_allocation_function is None:
            return None
        wanted = self._resources_allocation_function(tune_controller, trial, result, self)
        if isinstance(wanted, dict):
            from narke.tune.execution.placement_groups import resource_dict_to_pg_factory

            wanted = resource_dict_to_pg_factory(wanted)
        return wanted if wanted is not None and wanted != trial.placement_group_factory else None

    def debug_string(self) -> str:
        """The base scheduler's line."""
        return f"(ResourceChangingScheduler) {self._base_scheduler.debug_string()}"

    def save(self, checkpoint_path: str) -> None:
        """Write the base scheduler's state."""
        self._base_scheduler.save(checkpoint_path)

    def restore(self, checkpoint_path: str) -> None:
        """Take the base scheduler's state."""
        self._base_scheduler.restore(checkpoint_path)
