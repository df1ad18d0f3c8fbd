"""Actors that the replicas of a deployment share (``deployment_actors``)."""

from __future__ import annotations

import pickle
from typing import Any

import narke
from narke.serve._private.common import NAMESPACE
from narke.serve._private.targets import DeploymentTarget
from narke.serve.config import DeploymentActorConfig

__all__ = ["describe", "start", "stop"]


def actor_name(key: str, name: str) -> str:
    """The name in the cluster of a deployment's actor."""
    return f"SERVE_DEPLOYMENT_ACTOR::{key}#{name}"


def describe(configs: list[Any] | None) -> list[dict[str, Any]]:
    """What the controller is told of them."""
    from narke import cloudpickle

    found = []
    for each in configs or ():
        config = DeploymentActorConfig.model_validate(each) if isinstance(each, dict) else each
        payload = cloudpickle.dumps((config.get_actor_class(), config.init_args, config.init_kwargs))
        found.append({"name": config.name, "payload": bytes(payload), "options": config.actor_options})
    return found


def start(target: DeploymentTarget) -> None:
    """Make those that are not there yet."""
    for each in target.shared_actors:
        cls, args, kwargs = pickle.loads(each["payload"])
        options = {"num_cpus": 0, "max_restarts": -1, **each["options"]}
        options.update(name=actor_name(target.key, each["name"]), namespace=NAMESPACE, lifetime="detached")
        narke.remote(cls).options(**options, get_if_exists=True).remote(*args, **kwargs)


def stop(target: DeploymentTarget) -> None:
    """End them."""
    for each in target.shared_actors:
        try:
            narke.kill(narke.get_actor(actor_name(target.key, each["name"]), namespace=NAMESPACE))
        except ValueError:  # gone already
            continue
