"""Autoscaling inside the controller: an `Autoscaler` for each deployment that has a config for it."""

from __future__ import annotations

import pickle
from typing import Any

from narke.serve._private.autoscaling import Autoscaler
from narke.serve._private.common import DeploymentID, ReplicaID
from narke.serve._private.deployment_state import DeploymentState
from narke.serve._private.targets import DeploymentTarget

__all__ = ["Scaling", "make_autoscaler"]

_DECIDE_EVERY_S = 0.1


def make_autoscaler(autoscaling: dict[str, Any], policy: bytes | None) -> Autoscaler:
    """An autoscaler for a config's fields and a pickled policy (None: the config's own)."""
    from narke.serve.autoscaling_policy import make_context
    from narke.serve.config import AutoscalingConfig

    config = AutoscalingConfig(**autoscaling)
    function = pickle.loads(policy) if policy else config.policy.get_policy()
    if isinstance(function, type):
        function = function(**config.policy.policy_kwargs)
    return Autoscaler(config, function, make_context)


class Scaling:
    """The autoscalers by deployment key."""

    def __init__(self) -> None:
        self._scalers: dict[str, Autoscaler] = {}
        self._decided: dict[str, float] = {}

    def set(self, target: DeploymentTarget, state: DeploymentState, recovered: bool = False) -> None:
        """Follow a deployment's config; a new one begins with its first number of replicas."""
        if target.autoscaling is None:
            self._scalers.pop(target.key, None)
            return
        known = self._scalers.get(target.key)
        scaler = make_autoscaler(target.autoscaling, target.autoscaling_policy)
        scaler.capacity = state.capacity
        if known is not None:
            scaler.take_over(known)
        self._scalers[target.key] = scaler
        previous = state.count if known is not None else None
        state.count = scaler.initial(previous) if not recovered else scaler.bounded(state.count)

    def forget(self, key: str) -> None:
        """The deployment is gone."""
        self._scalers.pop(key, None)

    def on_numbers(self, key: str, replica: str, numbers: dict[str, Any], now: float) -> None:
        """A replica has told how busy it is."""
        if scaler := self._scalers.get(key):
            scaler.on_running(replica, numbers["ongoing"] + numbers["waiting"], now)

    def on_queues(self, source: str, queues: dict[str, int], now: float) -> bool:
        """A proxy or handle has told what waits in it; whether something has to be done soon."""
        for key, scaler in self._scalers.items():
            scaler.on_queued(source, queues.get(key, 0), now)
        return any(key in self._scalers and count > 0 for key, count in queues.items())

    def apply(self, key: str, state: DeploymentState, reports: dict[str, Any], now: float) -> None:
        """Have the deployment follow its autoscaler."""
        scaler = self._scalers.get(key)
        if scaler is None or state.is_deleting or now - self._decided.get(key, 0.0) < _DECIDE_EVERY_S:
            return
        self._decided[key] = now
        serving = {record.id for record in state.serving()}
        scaler.keep_replicas(serving)
        scaler.capacity = state.capacity
        deployment = DeploymentID.from_key(key)
        state.scale(scaler.decide(state.count, deployment, [ReplicaID(r, deployment) for r in serving], now))
