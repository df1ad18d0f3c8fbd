"""Options of deployments, of logs and of traces, as config files hold them."""

from __future__ import annotations

import enum
import logging
from typing import Any

from pydantic import ConfigDict, Field, PositiveInt, field_validator, model_validator

from narke.serve._private.common import DEFAULT
from narke.serve._private.models import Model
from narke.serve.config import (
    AutoscalingConfig,
    BackpressureConfig,
    DeploymentActorConfig,
    GangSchedulingConfig,
    RequestRouterConfig,
)

__all__ = [
    "DeploymentSchema",
    "EncodingType",
    "LoggingConfig",
    "RayActorOptionsSchema",
    "TracingConfig",
    "check_remote",
]


class EncodingType(str, enum.Enum):
    """How log lines look."""

    TEXT = "TEXT"
    JSON = "JSON"


class LoggingConfig(Model):
    """How replicas, proxies and the controller log."""

    model_config = ConfigDict(extra="forbid")

    encoding: str | EncodingType = Field(default_factory=lambda: EncodingType.TEXT)
    log_level: int | str = "INFO"
    logs_dir: str | None = None
    enable_access_log: bool = True
    additional_log_standard_attrs: list[str] = Field(default_factory=list)

    @field_validator("encoding")
    @classmethod
    def valid_encoding_format(cls, v: Any) -> Any:
        """TEXT or JSON."""
        if v not in list(EncodingType):
            raise ValueError(f"Got '{v}' for encoding. Encoding must be one of {set(EncodingType)}.")
        return v

    @field_validator("log_level")
    @classmethod
    def valid_log_level(cls, v: Any) -> Any:
        """A level of `logging`, by name or number."""
        if isinstance(v, int):
            v = logging.getLevelName(v)
        if not isinstance(v, str) or not isinstance(logging.getLevelName(v.upper()), int):
            raise ValueError(
                f'Got "{v}" for log_level. log_level must be one of the levels of Python\'s logging.'
            )
        return v.upper()

    @field_validator("additional_log_standard_attrs")
    @classmethod
    def valid_additional_log_standard_attrs(cls, v: list[str]) -> list[str]:
        """Attributes of every log record."""
        known = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
        unknown = set(v) - known
        if unknown:
            raise ValueError(
                f"Unknown attributes {sorted(unknown)} in additional_log_standard_attrs; known are {sorted(known)}"
            )
        return sorted(set(v))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LoggingConfig) and self.model_dump() == other.model_dump()

    __hash__ = None  # type: ignore[assignment]


class TracingConfig(Model):
    """Whether and where requests are traced."""

    enabled: bool = Field(default_factory=lambda: False)
    exporter_import_path: str = Field(default_factory=str)
    sampling_ratio: float = Field(default_factory=lambda: 1.0)

    @field_validator("sampling_ratio")
    @classmethod
    def validate_sampling_ratio(cls, v: float) -> float:
        """Between 0 and 1."""
        if not 0 <= v <= 1:
            raise ValueError(f"sampling_ratio must be between 0.0 and 1.0, got {v}")
        return v


class RayActorOptionsSchema(Model):
    """Options of a replica's actor."""

    model_config = ConfigDict(extra="forbid")

    runtime_env: dict[str, Any] = {}
    num_cpus: float | None = Field(default=None, ge=0)
    num_gpus: float | None = Field(default=None, ge=0)
    memory: float | None = Field(default=None, ge=0)
    resources: dict[str, Any] = {}
    accelerator_type: str | None = None
    label_selector: dict[str, str] | None = None
    fallback_strategy: list[dict[str, Any]] | None = None

    @field_validator("runtime_env")
    @classmethod
    def runtime_env_contains_remote_uris(cls, v: dict[str, Any] | None) -> dict[str, Any]:
        """Folders of one machine mean nothing to a config that others read."""
        return check_remote(v or {})

    @field_validator("label_selector")
    @classmethod
    def label_selector_is_valid(cls, v: dict[str, str] | None) -> dict[str, str] | None:
        """Names to values."""
        return v


def check_remote(env: dict[str, Any]) -> dict[str, Any]:
    """A runtime environment whose folders are URIs that every machine can fetch.

    Raises:
        ValueError: one is a path.
    """
    for uri in [env.get("working_dir"), *(env.get("py_modules") or ())]:
        if uri is not None and "://" not in str(uri):
            raise ValueError(
                f"runtime_envs in the Serve config support only remote URIs in working_dir and py_modules. Got {uri!r}."
            )
    return env


class DeploymentSchema(Model):
    """Options of one deployment in a config file; those not given are left as the code has them."""

    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)

    name: str
    num_replicas: PositiveInt | str | None | Any = DEFAULT.VALUE
    max_ongoing_requests: int | Any = DEFAULT.VALUE
    max_queued_requests: int | Any = DEFAULT.VALUE
    backpressure_config: BackpressureConfig | Any = DEFAULT.VALUE
    user_config: dict[str, Any] | None | Any = DEFAULT.VALUE
    autoscaling_config: dict[str, Any] | AutoscalingConfig | None | Any = DEFAULT.VALUE
    graceful_shutdown_wait_loop_s: float | Any = DEFAULT.VALUE
    graceful_shutdown_timeout_s: float | Any = DEFAULT.VALUE
    health_check_period_s: float | Any = DEFAULT.VALUE
    health_check_timeout_s: float | Any = DEFAULT.VALUE
    ray_actor_options: RayActorOptionsSchema | Any = DEFAULT.VALUE
    placement_group_bundles: list[dict[str, float]] | Any = DEFAULT.VALUE
    placement_group_strategy: str | Any = DEFAULT.VALUE
    placement_group_bundle_label_selector: list[dict[str, str]] | Any = DEFAULT.VALUE
    max_replicas_per_node: int | Any = DEFAULT.VALUE
    logging_config: LoggingConfig | Any = DEFAULT.VALUE
    request_router_config: dict[str, Any] | RequestRouterConfig | Any = DEFAULT.VALUE
    gang_scheduling_config: dict[str, Any] | GangSchedulingConfig | None | Any = DEFAULT.VALUE
    deployment_actors: list[dict[str, Any] | DeploymentActorConfig] | None | Any = DEFAULT.VALUE
    rolling_update_percentage: float | Any = DEFAULT.VALUE
    max_surge_percent: int | Any = DEFAULT.VALUE

    @field_validator("*", mode="before")
    @classmethod
    def _parse(cls, v: Any, info: Any) -> Any:
        model = _MODELS.get(info.field_name)
        return model.model_validate(v) if model is not None and isinstance(v, dict) else v

    @field_validator("max_ongoing_requests")
    @classmethod
    def _positive(cls, v: Any) -> Any:
        if v is not DEFAULT.VALUE and (not isinstance(v, int) or v < 1):
            raise ValueError(f"max_ongoing_requests must be a positive integer, got {v!r}")
        return v

    @field_validator("max_queued_requests")
    @classmethod
    def validate_max_queued_requests(cls, v: Any) -> Any:
        """-1 or positive."""
        if v is not DEFAULT.VALUE and (not isinstance(v, int) or (v < 1 and v != -1)):
            raise ValueError("max_queued_requests must be -1 (no limit) or a positive integer.")
        return v

    @field_validator(
        "graceful_shutdown_wait_loop_s",
        "graceful_shutdown_timeout_s",
        "health_check_period_s",
        "health_check_timeout_s",
    )
    @classmethod
    def _seconds(cls, v: Any, info: Any) -> Any:
        if v is not DEFAULT.VALUE and (isinstance(v, bool) or not isinstance(v, (int, float)) or v < 0):
            raise ValueError(f"{info.field_name} must be a number of seconds, got {v!r}")
        if v == 0 and info.field_name.startswith("health_check"):
            raise ValueError(f"{info.field_name} must be more than 0 seconds")
        return v

    @model_validator(mode="after")
    def validate_num_replicas_and_autoscaling_config(self) -> DeploymentSchema:
        """A number of replicas and autoscaling exclude each other."""
        count, scaling = self.num_replicas, self.autoscaling_config
        if isinstance(count, str) and count != "auto":
            raise ValueError(f'num_replicas must be an integer or "auto", got {count!r}')
        if isinstance(count, int) and not isinstance(count, bool) and count < 1:
            raise ValueError(f"num_replicas must be positive, got {count}")
        if isinstance(count, int) and scaling not in (DEFAULT.VALUE, None):
            raise ValueError(
                "Manually setting num_replicas is not allowed when autoscaling_config is provided."
            )
        return self

    @model_validator(mode="after")
    def validate_max_replicas_per_node_and_placement_group_bundles(self) -> DeploymentSchema:
        """Both limit where replicas go."""
        if _is_set(self.max_replicas_per_node) and _is_set(self.placement_group_bundles):
            raise ValueError(
                "Setting max_replicas_per_node is not allowed when placement_group_bundles is provided."
            )
        return self

    @model_validator(mode="after")
    def validate_bundle_label_selector(self) -> DeploymentSchema:
        """Selectors belong to bundles."""
        selector = self.placement_group_bundle_label_selector
        if _is_set(selector) and not _is_set(self.placement_group_bundles):
            raise ValueError("Setting placement_group_bundle_label_selector needs placement_group_bundles.")
        return self

    @model_validator(mode="after")
    def validate_gang_scheduling_config(self) -> DeploymentSchema:
        """Whole gangs only."""
        gang = self.gang_scheduling_config
        if _is_set(gang) and isinstance(self.num_replicas, int):
            size = GangSchedulingConfig.model_validate(gang).gang_size
            if self.num_replicas % size:
                raise ValueError(
                    f"num_replicas ({self.num_replicas}) must be a multiple of gang_size ({size})."
                )
        return self

    @model_validator(mode="after")
    def validate_max_replicas_per_node_and_gang_scheduling_config(self) -> DeploymentSchema:
        """Both limit where replicas go."""
        if _is_set(self.max_replicas_per_node) and _is_set(self.gang_scheduling_config):
            raise ValueError(
                "Setting max_replicas_per_node is not allowed when gang_scheduling_config is provided."
            )
        return self

    @model_validator(mode="after")
    def validate_placement_group_strategy_and_gang_scheduling_config(self) -> DeploymentSchema:
        """A gang has its own strategy."""
        if _is_set(self.placement_group_strategy) and _is_set(self.gang_scheduling_config):
            raise ValueError(
                "Setting placement_group_strategy is not allowed when gang_scheduling_config is provided."
            )
        return self

    def is_autoscaling_configured(self) -> bool:
        """Whether the number of replicas follows the requests."""
        return self.num_replicas == "auto" or _is_set(self.autoscaling_config)

    def given(self) -> dict[str, Any]:
        """The options that were given."""
        return {
            name: getattr(self, name)
            for name in type(self).model_fields
            if name != "name" and getattr(self, name) is not DEFAULT.VALUE
        }


def _is_set(value: Any) -> bool:
    return value is not DEFAULT.VALUE and value is not None


_MODELS: dict[str, Any] = {
    "backpressure_config": BackpressureConfig,
    "ray_actor_options": RayActorOptionsSchema,
    "logging_config": LoggingConfig,
    "autoscaling_config": AutoscalingConfig,
    "request_router_config": RequestRouterConfig,
    "gang_scheduling_config": GangSchedulingConfig,
}
