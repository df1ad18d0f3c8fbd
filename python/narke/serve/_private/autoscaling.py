"""How many replicas a deployment should have: pure. Numbers come in with their time, decisions go out.

`Autoscaler` keeps what replicas, proxies and handles told of their requests over the look-back period, asks the policy,
and holds a decision back until it has stood for the config's delay.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Callable
from typing import Any

from narke.serve._private.deployment_state import at_capacity

__all__ = ["Autoscaler", "desired_replicas"]

Policy = Callable[[Any], tuple[Any, dict[str, Any]]]


def desired_replicas(total_requests: float, current: int, config: Any) -> float:
    """The number of replicas at which each has the target number of requests, with the config's factors; unrounded.

    Args:
        total_requests: requests that run and wait.
        current: replicas there are to be now.
        config: an AutoscalingConfig.
    """
    target = config.get_target_ongoing_requests()
    if current == 0:
        if total_requests <= 0:
            return 0
        return max(1, math.ceil(config.get_upscaling_factor() * total_requests / target))
    ratio = total_requests / target / current
    factor = config.get_upscaling_factor() if ratio > 1 else config.get_downscaling_factor()
    desired = current * (1 + (ratio - 1) * factor)
    if (
        ratio == 0 and math.ceil(desired) == current >= 1
    ):  # a small factor must not keep the last one alive for ever
        desired -= 1
    return desired


class _Window:
    """Values over the look-back period."""

    def __init__(self) -> None:
        self.values: collections.deque[tuple[float, float]] = collections.deque()

    def add(self, now: float, value: float, period_s: float) -> None:
        self.values.append((now, value))
        while self.values and self.values[0][0] < now - period_s:
            self.values.popleft()

    def aggregate(self, how: str) -> float:
        numbers = [value for _, value in self.values]
        if not numbers:
            return 0.0
        if how == "max":
            return max(numbers)
        if how == "min":
            return min(numbers)
        return sum(numbers) / len(numbers)


class Autoscaler:
    """Decides for one deployment.

    Attributes:
        config: its AutoscalingConfig.
        policy_state: what the policy returned last.
        capacity: percentage of the config's bounds that holds, or None.
    """

    def __init__(self, config: Any, policy: Policy, make_context: Callable[..., Any]) -> None:
        self.config = config
        self._policy = policy
        self._make_context = make_context
        self._running: dict[str, float] = {}  # the last each replica told
        self._totals = _Window()
        self._queued: dict[str, tuple[float, int]] = {}
        self.policy_state: dict[str, Any] = {}
        self.capacity: float | None = None
        self._wish: int = 0  # 1: wants more, -1: wants less
        self._since = 0.0
        self.last_up: float | None = None
        self.last_down: float | None = None

    def initial(self, previous: int | None = None) -> int:
        """Replicas to begin with."""
        first = self.config.initial_replicas
        count = previous if previous is not None else first if first is not None else self.config.min_replicas
        return self.bounded(count if previous is not None else at_capacity(count, self.capacity))

    def on_running(self, replica: str, requests: float, now: float) -> None:
        """A replica has told how many requests it runs."""
        self._running[replica] = requests

    def on_queued(self, source: str, requests: int, now: float) -> None:
        """A proxy or handle has told how many requests wait in it."""
        self._queued[source] = (now, requests)

    def keep_replicas(self, replicas: set[str]) -> None:
        """Forget replicas that are gone."""
        for gone in [each for each in self._running if each not in replicas]:
            del self._running[gone]

    def decide(self, current: int, deployment: Any, replicas: list[Any], now: float) -> int:
        """The number of replicas there shall be from now on.

        Args:
            current: the number there is to be until now.
            deployment: a DeploymentID.
            replicas: ReplicaIDs that run.
            now: seconds.
        """
        context = self._context(current, deployment, replicas, now)
        desired, self.policy_state = self._policy(context)
        wanted = self.bounded(math.ceil(desired - 1e-9))
        if current == 0 and wanted > 0:  # somebody waits: no delay
            return self._scaled(wanted, current, now)
        return self._delayed(wanted, current, now)

    def _context(self, current: int, deployment: Any, replicas: list[Any], now: float) -> Any:
        how = str(getattr(self.config.aggregation_function, "value", self.config.aggregation_function))
        self._totals.add(now, sum(self._running.values()), self.config.look_back_period_s)
        running = self._totals.aggregate(how)
        fresh = max(2.0, self.config.metrics_interval_s)
        queued = sum(count for at, count in self._queued.values() if now - at <= fresh)
        return self._make_context(
            deployment=deployment,
            current=current,
            replicas=replicas,
            running=running,
            queued=queued,
            state=self.policy_state,
            config=self.config,
            bounds=self.bounds(),
            last_up=self.last_up,
            last_down=self.last_down,
            now=now,
        )

    def take_over(self, other: Autoscaler) -> None:
        """Go on with what another was told."""
        self._running, self._queued, self._totals = other._running, other._queued, other._totals

    def bounded(self, count: int) -> int:
        """The number within the config's bounds, at the present capacity."""
        least, most = self.bounds()
        return max(least, min(most, count))

    def bounds(self) -> tuple[int, int]:
        """The least and the most replicas, at the present capacity."""
        return (
            at_capacity(self.config.min_replicas, self.capacity),
            at_capacity(self.config.max_replicas, self.capacity),
        )

    def _delay_s(self, wanted: int, current: int) -> float:
        if wanted > current:
            return float(self.config.upscale_delay_s)
        to_zero = self.config.downscale_to_zero_delay_s
        if wanted == 0 and current == 1 and to_zero is not None:
            return float(to_zero)
        return float(self.config.downscale_delay_s)

    def _delayed(self, wanted: int, current: int, now: float) -> int:
        wish = (wanted > current) - (wanted < current)
        if wish == 0:
            self._wish = 0
            return current
        if wish != self._wish:
            self._wish, self._since = wish, now
        to_zero = self.config.downscale_to_zero_delay_s
        if wanted == 0 and current > 1 and (to_zero is not None or self.config.downscale_delay_s > 0):
            wanted = 1  # the last one goes only after a delay of its own
        if now - self._since < self._delay_s(wanted, current):
            return current
        return self._scaled(wanted, current, now)

    def _scaled(self, wanted: int, current: int, now: float) -> int:
        self._wish = 0
        if wanted > current:
            self.last_up = now
        elif wanted < current:
            self.last_down = now
        return wanted
