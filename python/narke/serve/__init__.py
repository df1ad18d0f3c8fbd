"""Online inference: classes and functions as HTTP services and as handles, composed, batched and scaled."""

from __future__ import annotations

from narke._private import preloads

try:
    import pydantic as _pydantic  # noqa: F401
    import starlette as _starlette  # noqa: F401
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"narke.serve needs {error.name}: install it with `pip install 'narke[serve]'`", name=error.name
    ) from error
else:
    preloads.expect(preloads.SERVE)  # before the imports below: workers get ready meanwhile

from narke.serve.api import (
    RunTarget,
    _run,
    _run_many,
    delete,
    deployment,
    get_app_handle,
    get_deployment_actor,
    get_deployment_actor_context,
    get_deployment_handle,
    get_multiplexed_model_id,
    get_replica_context,
    ingress,
    run,
    run_many,
    shutdown,
    shutdown_async,
    start,
    status,
)
from narke.serve.batching import batch
from narke.serve.config import ControllerOptions, HTTPOptions
from narke.serve.deployment import Application, Deployment
from narke.serve.multiplex import multiplexed
from narke.serve.schema import TracingConfig
from narke.serve.utils import get_trace_context

__all__ = [
    "Application",
    "ControllerOptions",
    "Deployment",
    "HTTPOptions",
    "RunTarget",
    "TracingConfig",
    "_run",
    "_run_many",
    "batch",
    "delete",
    "deployment",
    "get_app_handle",
    "get_deployment_actor",
    "get_deployment_actor_context",
    "get_deployment_handle",
    "get_multiplexed_model_id",
    "get_replica_context",
    "get_trace_context",
    "ingress",
    "multiplexed",
    "run",
    "run_many",
    "shutdown",
    "shutdown_async",
    "start",
    "status",
]


def __getattr__(name: str) -> object:
    if name == "PredictorDeployment":  # of former releases; needs FastAPI
        from narke.serve.air_integrations import PredictorDeployment

        return PredictorDeployment
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
