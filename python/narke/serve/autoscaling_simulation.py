"""What an autoscaling config and its policy would do: the autoscaler itself, with simulated replicas and requests."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

from narke.serve._private.common import DeploymentID, ReplicaID
from narke.serve._private.scaling import make_autoscaler
from narke.serve.config import AutoscalingConfig

__all__ = ["Moment", "simulate"]


@dataclasses.dataclass(frozen=True)
class Moment:
    """How things are at one time.

    Attributes:
        time_s: since the beginning.
        target: replicas that there are to be.
        running: replicas that serve.
        ongoing: requests that run.
        queued: requests that wait.
        latency_s: how long a request that comes now will take, if nothing changes; infinite without replicas.
    """

    time_s: float
    target: int
    running: int
    ongoing: float
    queued: float
    latency_s: float


def simulate(
    config: AutoscalingConfig,
    requests_per_s: Callable[[float], float],
    *,
    seconds: float,
    request_s: float = 0.1,
    max_ongoing_requests: int = 5,
    startup_s: float = 1.0,
    step_s: float = 0.1,
) -> list[Moment]:
    """Follow an autoscaler over a course of load. Nothing is random and nothing is started.

    Args:
        config: its policy may be any function or class that deployments may name.
        requests_per_s: the load at a time (seconds since the beginning).
        seconds: how long.
        request_s: how long a request takes on a replica, however many run beside it.
        max_ongoing_requests: of each replica.
        startup_s: from the decision to a replica that serves.
        step_s: between two decisions.

    Returns:
        a `Moment` for each step.
    """
    policy = config.policy.get_serialized_policy_def()
    fields = config.model_dump(exclude={"policy"})
    fields["policy"] = {
        "policy_function": config.policy.policy_function,
        "policy_kwargs": config.policy.policy_kwargs,
    }
    scaler = make_autoscaler(fields, policy)
    deployment = DeploymentID("simulated")
    target = scaler.initial()
    running, starting = target, list[float]()
    there, course = 0.0, []
    for number in range(max(1, math.ceil(seconds / step_s))):
        now = number * step_s
        running += sum(at <= now for at in starting)
        starting = [at for at in starting if at > now]
        places = running * max_ongoing_requests
        there = max(0.0, there + requests_per_s(now) * step_s - min(there, places) / request_s * step_s)
        ongoing, queued = min(there, places), max(0.0, there - places)
        names = [f"replica-{index}" for index in range(running)]
        scaler.keep_replicas(set(names))
        for name in names:
            scaler.on_running(name, ongoing / running, now)
        scaler.on_queued("proxy", math.ceil(queued), now)
        target = scaler.decide(target, deployment, [ReplicaID(name, deployment) for name in names], now)
        if target < running + len(starting):
            starting = starting[: max(0, target - running)]
            running = min(running, target)
        starting += [now + startup_s] * (target - running - len(starting))
        waiting_s = queued * request_s / places if places else math.inf
        course.append(Moment(now, target, running, ongoing, queued, request_s + waiting_s))
    return course
