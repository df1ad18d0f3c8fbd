"""Config files: applications, and how they are served."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from narke.serve._private.models import Model
from narke.serve.config import ControllerOptions, ProxyLocation, check_ssl_certfile
from narke.serve.schema.options import DeploymentSchema, LoggingConfig, TracingConfig, check_remote

__all__ = [
    "HTTPOptionsSchema",
    "ServeApplicationSchema",
    "ServeDeploySchema",
    "check_route_prefix",
    "gRPCOptionsSchema",
]


def check_route_prefix(prefix: str | None) -> str | None:
    """A route prefix that is possible.

    Raises:
        ValueError: it does not begin with a slash, ends with one, or holds a wildcard.
    """
    if prefix is None:
        return None
    if not prefix.startswith("/"):
        raise ValueError(f'Got "{prefix}" for route_prefix. Route prefix must start with "/".')
    if prefix != "/" and prefix.endswith("/"):
        raise ValueError(
            f'Got "{prefix}" for route_prefix. Route prefix cannot end with "/" unless the route is just "/".'
        )
    if "{" in prefix or "}" in prefix:
        raise ValueError(f'Got "{prefix}" for route_prefix. Route prefix cannot contain wildcards.')
    return prefix


class ServeApplicationSchema(Model):
    """One application of a config file."""

    model_config = ConfigDict(extra="forbid")

    name: str = "default"
    route_prefix: str | None = "/"
    import_path: str
    runtime_env: dict[str, Any] = {}
    host: str = "0.0.0.0"
    port: int = 8000
    deployments: list[DeploymentSchema] = []
    autoscaling_policy: dict[str, Any] | None = None
    args: dict[str, Any] = {}
    logging_config: LoggingConfig | None = None
    external_scaler_enabled: bool = False

    @property
    def deployment_names(self) -> list[str]:
        """Names of the deployments whose options are given."""
        return [deployment.name for deployment in self.deployments]

    @field_validator("runtime_env")
    @classmethod
    def runtime_env_contains_remote_uris(cls, v: dict[str, Any] | None) -> dict[str, Any]:
        """Folders of one machine mean nothing to a config that others read."""
        return check_remote(v or {})

    @field_validator("import_path")
    @classmethod
    def import_path_format_valid(cls, v: str) -> str:
        """module:attribute or module.attribute."""
        if not isinstance(v, str) or ("." not in v and ":" not in v) or v.count(":") > 1:
            raise ValueError(
                f'Got invalid import path "{v}": it must be of the form "module.submodule:app" or '
                '"module.submodule.app".'
            )
        if not all(v.replace(":", ".").split(".")):
            raise ValueError(f'Got invalid import path "{v}": a part of it is empty.')
        return v

    @field_validator("route_prefix")
    @classmethod
    def _route_prefix_format(cls, v: str | None) -> str | None:
        return check_route_prefix(v)

    @field_validator("autoscaling_policy", mode="before")
    @classmethod
    def convert_autoscaling_policy_to_dict(cls, v: Any) -> Any:
        """A model is taken apart."""
        return v.model_dump() if isinstance(v, BaseModel) else v

    @model_validator(mode="after")
    def validate_external_scaler_and_autoscaling(self) -> ServeApplicationSchema:
        """Either the requests or somebody outside scales."""
        scaled = [d.name for d in self.deployments if d.is_autoscaling_configured()]
        if self.external_scaler_enabled and scaled:
            raise ValueError(f"external_scaler_enabled is True, but the deployments {scaled} are autoscaled.")
        return self

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """What is shown where there is no application."""
        return {"deployments": []}


class HTTPOptionsSchema(Model):
    """HTTP options of a config file."""

    model_config = ConfigDict(extra="forbid")

    host: str = "0.0.0.0"
    port: int = 8000
    root_path: str = ""
    request_timeout_s: float | None = None
    keep_alive_timeout_s: int = 90
    ssl_keyfile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile_password: str | None = None
    ssl_ca_certs: str | None = None

    @field_validator("ssl_certfile")
    @classmethod
    def validate_ssl_certfile(cls, v: str | None, info: Any) -> str | None:
        """Key and certificate go together."""
        return check_ssl_certfile(v, info)


class gRPCOptionsSchema(Model):
    """gRPC options of a config file."""

    model_config = ConfigDict(extra="forbid")

    port: int = 9000
    grpc_servicer_functions: list[str] = []
    request_timeout_s: float | None = None
    enable_reflection: bool = True


class ServeDeploySchema(Model):
    """A config file: applications, and how they are served."""

    model_config = ConfigDict(extra="forbid")

    proxy_location: ProxyLocation = ProxyLocation.EveryNode
    http_options: HTTPOptionsSchema = HTTPOptionsSchema()
    grpc_options: gRPCOptionsSchema = gRPCOptionsSchema()
    controller_options: ControllerOptions | None = None
    logging_config: LoggingConfig | None = None
    tracing_config: TracingConfig | None = None
    applications: list[ServeApplicationSchema]
    target_capacity: float | None = Field(default=None, ge=0, le=100)

    @field_validator("applications")
    @classmethod
    def application_names_unique(cls, v: list[ServeApplicationSchema]) -> list[ServeApplicationSchema]:
        """Each application has a name of its own."""
        names = [app.name for app in v]
        twice = sorted({f'"{name}"' for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(
                f"Found multiple configs for application(s) {', '.join(twice)}. Please remove all duplicates."
            )
        return v

    @field_validator("applications")
    @classmethod
    def application_routes_unique(cls, v: list[ServeApplicationSchema]) -> list[ServeApplicationSchema]:
        """Each application has a route of its own."""
        routes = [app.route_prefix for app in v if app.route_prefix is not None]
        twice = sorted({f'"{route}"' for route in routes if routes.count(route) > 1})
        if twice:
            raise ValueError(
                f"Found duplicate applications for route prefix(es) {', '.join(twice)}. Please ensure each "
                "application's route_prefix is unique."
            )
        return v

    @field_validator("applications")
    @classmethod
    def application_names_nonempty(cls, v: list[ServeApplicationSchema]) -> list[ServeApplicationSchema]:
        """Each application has a name."""
        if any(not app.name for app in v):
            raise ValueError("Application names must be nonempty.")
        return v

    @model_validator(mode="after")
    def nested_host_and_port(self) -> ServeDeploySchema:
        """Host and port are the same for all applications."""
        for app in self.applications:
            for name in ("host", "port"):
                if name in app.model_fields_set:
                    raise ValueError(
                        f'Host "{getattr(app, name)}" is set in the config for application "{app.name}". Please '
                        "remove it "
                        "and set host and port in the top level deploy config only."
                    )
        return self

    @staticmethod
    def get_empty_schema_dict() -> dict[str, Any]:
        """What is shown where nothing was deployed by a config."""
        return {"applications": []}
