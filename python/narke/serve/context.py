"""What code that runs in a replica may ask about itself and its request."""

from __future__ import annotations

import contextvars
import dataclasses
from collections.abc import Callable
from typing import Any

from narke.serve._private.common import DeploymentID, ReplicaID
from narke.serve.gang import GangContext

__all__ = ["DeploymentActorContext", "ReplicaContext"]


@dataclasses.dataclass
class ReplicaContext:
    """Facts about the replica that the calling code runs in; see `narke.serve.get_replica_context`.

    Attributes:
        replica_id: names the replica.
        servable_object: the instance of the deployment's class.
        rank: place among the deployment's replicas.
        world_size: replicas the deployment is to have.
        gang_context: the gang it belongs to, or None.
        code_version: version of the deployment's code, or None.
    """

    replica_id: ReplicaID
    servable_object: Callable[..., Any]
    _deployment_config: Any
    rank: Any
    world_size: int
    _handle_registration_callback: Callable[[DeploymentID], None] | None = None
    gang_context: GangContext | None = None
    code_version: str | None = None

    @property
    def app_name(self) -> str:
        """The application's name."""
        return self.replica_id.deployment_id.app_name

    @property
    def deployment(self) -> str:
        """The deployment's name."""
        return self.replica_id.deployment_id.name

    @property
    def replica_tag(self) -> str:
        """The replica's random name."""
        return self.replica_id.unique_id


@dataclasses.dataclass
class DeploymentActorContext:
    """Facts about a deployment actor that the calling code runs in.

    Attributes:
        deployment_id: the deployment that owns the actor.
        actor_name: the name it was given in ``deployment_actors``.
        code_version: version of the deployment's code, or None.
    """

    deployment_id: DeploymentID
    actor_name: str
    code_version: str | None = None

    @property
    def app_name(self) -> str:
        """The application's name."""
        return self.deployment_id.app_name

    @property
    def deployment(self) -> str:
        """The deployment's name."""
        return self.deployment_id.name


class RequestContext:
    """Facts about the request that the calling code serves."""

    __slots__ = ("app_name", "model_id", "request_id", "route", "session_id", "waiting")

    def __init__(
        self,
        request_id: str = "",
        app_name: str = "",
        route: str = "",
        model_id: str = "",
        session_id: str = "",
    ) -> None:
        self.request_id = request_id
        self.app_name = app_name
        self.route = route
        self.model_id = model_id
        self.session_id = session_id
        self.waiting: list[Any] | None = None  # responses of calls that had no replica when they were made

    @property
    def multiplexed_model_id(self) -> str:
        """The model asked for."""
        return self.model_id

    def hold(self, response: Any) -> None:
        """Remember a call of this request that waits for a replica: it is cancelled with the request."""
        if self.waiting is None:
            self.waiting = []
        self.waiting.append(response)

    def cancel_waiting(self) -> None:
        """Cancel those calls; those that were sent meanwhile, too."""
        for response in self.waiting or ():
            response.cancel()


NO_REQUEST = RequestContext()
request_context: contextvars.ContextVar[RequestContext] = contextvars.ContextVar(
    "serve_request", default=NO_REQUEST
)
_replica_context: ReplicaContext | None = None


def set_replica_context(context: ReplicaContext | None) -> None:
    """Make `context` this process's."""
    global _replica_context
    _replica_context = context


def replica_context() -> ReplicaContext | None:
    """This process's replica, or None."""
    return _replica_context


def _get_serve_request_context() -> RequestContext:
    """The context of the request being served; an empty one outside of requests."""
    return request_context.get()
