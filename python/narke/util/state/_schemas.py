"""The records of the state API: what is known of actors, tasks, objects and so on, a class for each kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

__all__ = [
    "ActorState",
    "ClusterEventState",
    "Humanify",
    "JobState",
    "NodeState",
    "ObjectState",
    "PlacementGroupState",
    "RuntimeEnvState",
    "StateSchema",
    "TaskState",
    "WorkerState",
    "filter_fields",
    "state_column",
]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class Humanify:
    """Numbers as people write them."""

    @staticmethod
    def timestamp(x: float) -> str:
        """Milliseconds since 1970 as a date and time (UTC)."""
        return datetime.fromtimestamp(x / 1000, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")

    @staticmethod
    def memory(x: float) -> str:
        """Bytes with a unit."""
        size, unit = float(x), 0
        while size >= 1024 and unit < len(_UNITS) - 1:
            size, unit = size / 1024, unit + 1
        return f"{size:.3f} {_UNITS[unit]}"

    @staticmethod
    def duration(x: float) -> str:
        """Milliseconds as days, hours, minutes and seconds."""
        return str(timedelta(milliseconds=x))

    @staticmethod
    def events(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """A task's events with readable times."""
        return [{**event, "created_ms": Humanify.timestamp(event["created_ms"])} for event in events]

    @staticmethod
    def node_resources(resources: dict[str, float]) -> dict[str, Any]:
        """A node's resources with readable memory."""
        return {
            name: Humanify.memory(amount) if name in ("memory", "object_store_memory") else amount
            for name, amount in resources.items()
        }


def state_column(
    *, filterable: bool, detail: bool = False, format_fn: Callable[[Any], Any] | None = None, **kwargs: Any
) -> Any:
    """Declare a field of a record.

    Args:
        filterable: queries can filter by it.
        detail: it is filled only when details are asked for.
        format_fn: makes its value readable.
        **kwargs: arguments of `dataclasses.field`.
    """
    metadata = {"filterable": filterable, "detail": detail, "format_fn": format_fn}
    return dataclasses.field(metadata={**kwargs.pop("metadata", {}), **metadata}, **kwargs)


class StateSchema:
    """What all records offer: fields by name, and which of them a query can use."""

    @classmethod
    def humanify(cls, state: dict[str, Any]) -> dict[str, Any]:
        """Return a record, given as a dictionary, with readable values."""
        formats = {field.name: field.metadata.get("format_fn") for field in _fields(cls)}
        return {
            name: formats[name](value) if formats.get(name) and value is not None else value
            for name, value in state.items()
        }

    @classmethod
    def list_columns(cls, detail: bool = True) -> list[str]:
        """Return the fields in their order, with or without those for details."""
        return [field.name for field in _fields(cls) if detail or not field.metadata.get("detail")]

    @classmethod
    def columns(cls) -> set[str]:
        """Return all fields."""
        return set(cls.list_columns())

    @classmethod
    def base_columns(cls) -> set[str]:
        """Return the fields that are always filled."""
        return set(cls.list_columns(detail=False))

    @classmethod
    def detail_columns(cls) -> set[str]:
        """Return the fields that are filled when details are asked for."""
        return cls.columns()

    @classmethod
    def filterable_columns(cls) -> set[str]:
        """Return the fields that queries can filter by."""
        return {field.name for field in _fields(cls) if field.metadata.get("filterable")}

    def asdict(self) -> dict[str, Any]:
        """Return the record as a dictionary."""
        return dataclasses.asdict(self)  # type: ignore[call-overload]

    def __getitem__(self, key: str) -> Any:
        return getattr(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        setattr(self, key, value)

    def get(self, key: str, default: Any = None) -> Any:
        """Return a field, or `default` when there is no such field."""
        return getattr(self, key, default)


def _fields(cls: type) -> tuple[Any, ...]:
    return dataclasses.fields(cls) if dataclasses.is_dataclass(cls) else ()


def filter_fields(data: dict[str, Any], state_dataclass: Any, detail: bool) -> dict[str, Any]:
    """Return the fields of a record that `detail` asks for; those that `data` lacks are None."""
    return {name: data.get(name) for name in state_dataclass.list_columns(detail=detail)}


@dataclass
class ActorState(StateSchema):
    """An actor."""

    actor_id: str = state_column(filterable=True)
    class_name: str = state_column(filterable=True)
    state: str = state_column(filterable=True)
    job_id: str = state_column(filterable=True)
    name: str | None = state_column(filterable=True)
    node_id: str | None = state_column(filterable=True)
    pid: int | None = state_column(filterable=True)
    ray_namespace: str | None = state_column(filterable=True)
    serialized_runtime_env: str | None = state_column(filterable=False, detail=True, default=None)
    required_resources: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    death_cause: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    is_detached: bool | None = state_column(filterable=False, detail=True, default=None)
    placement_group_id: str | None = state_column(filterable=True, detail=True, default=None)
    repr_name: str | None = state_column(filterable=True, detail=True, default=None)
    num_restarts: int | None = state_column(filterable=False, detail=True, default=None)
    num_restarts_due_to_lineage_reconstruction: int | None = state_column(
        filterable=False, detail=True, default=None
    )
    num_restarts_due_to_node_preemption: int | None = state_column(
        filterable=False, detail=True, default=None
    )
    call_site: str | None = state_column(filterable=False, detail=True, default=None)
    label_selector: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    fallback_strategy: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)


@dataclass
class PlacementGroupState(StateSchema):
    """A placement group."""

    placement_group_id: str = state_column(filterable=True)
    name: str = state_column(filterable=True)
    creator_job_id: str = state_column(filterable=True)
    state: str = state_column(filterable=True)
    bundles: list[dict[str, Any]] | None = state_column(filterable=False, detail=True, default=None)
    is_detached: bool | None = state_column(filterable=True, detail=True, default=None)
    stats: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    topology_strategy: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    topology_assignments: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)


@dataclass
class NodeState(StateSchema):
    """A node."""

    node_id: str = state_column(filterable=True)
    node_ip: str = state_column(filterable=True)
    is_head_node: bool = state_column(filterable=True)
    state: str = state_column(filterable=True)
    state_message: str | None = state_column(filterable=False)
    node_name: str = state_column(filterable=True)
    resources_total: dict[str, Any] = state_column(filterable=False, format_fn=Humanify.node_resources)
    labels: dict[str, Any] = state_column(filterable=False)
    start_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    end_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )


@dataclass(kw_only=True)
class JobState(StateSchema):
    """A job: a program that was submitted, or a driver that connected by itself."""

    type: str = state_column(filterable=True)
    job_id: str | None = state_column(filterable=True, default=None)
    submission_id: str | None = state_column(filterable=True, default=None)
    driver_info: Any | None = state_column(filterable=False, default=None)
    status: str = state_column(filterable=True)
    entrypoint: str = state_column(filterable=False)
    message: str | None = state_column(filterable=False, default=None)
    error_type: str | None = state_column(filterable=False, default=None)
    start_time: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    end_time: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    metadata: dict[str, str] | None = state_column(filterable=False, detail=True, default=None)
    runtime_env: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    driver_agent_http_address: str | None = state_column(filterable=False, detail=True, default=None)
    driver_node_id: str | None = state_column(filterable=False, detail=True, default=None)
    driver_exit_code: int | None = state_column(filterable=False, detail=True, default=None)

    @classmethod
    def schema_dict(cls) -> dict[str, str]:
        """Return the type of each field by its name."""
        return {field.name: str(field.type) for field in _fields(cls)}


@dataclass
class WorkerState(StateSchema):
    """A worker or driver process."""

    worker_id: str = state_column(filterable=True)
    is_alive: bool = state_column(filterable=True)
    worker_type: str = state_column(filterable=True)
    exit_type: str | None = state_column(filterable=True)
    node_id: str = state_column(filterable=True)
    ip: str = state_column(filterable=True)
    pid: int = state_column(filterable=True)
    exit_detail: str | None = state_column(filterable=False, detail=True, default=None)
    worker_launch_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    worker_launched_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    start_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    end_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    debugger_port: int | None = state_column(filterable=True, detail=True, default=None)
    num_paused_threads: int | None = state_column(filterable=True, detail=True, default=None)


@dataclass
class ClusterEventState(StateSchema):
    """Something worth telling that happened in the cluster."""

    severity: str = state_column(filterable=True)
    time: str = state_column(filterable=False)
    source_type: str = state_column(filterable=True)
    message: str = state_column(filterable=False)
    event_id: str = state_column(filterable=True)
    custom_fields: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)


@dataclass
class TaskState(StateSchema):
    """A task, or a call of an actor's method, in one of its attempts."""

    task_id: str = state_column(filterable=True)
    attempt_number: int = state_column(filterable=True)
    name: str = state_column(filterable=True)
    state: str = state_column(filterable=True)
    job_id: str = state_column(filterable=True)
    actor_id: str | None = state_column(filterable=True)
    type: str = state_column(filterable=True)
    func_or_class_name: str = state_column(filterable=True)
    parent_task_id: str = state_column(filterable=True)
    node_id: str | None = state_column(filterable=True)
    worker_id: str | None = state_column(filterable=True)
    worker_pid: int | None = state_column(filterable=True)
    error_type: str | None = state_column(filterable=True)
    language: str | None = state_column(filterable=True, detail=True, default=None)
    required_resources: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    runtime_env_info: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    placement_group_id: str | None = state_column(filterable=True, detail=True, default=None)
    events: list[dict[str, Any]] | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.events, default=None
    )
    profiling_data: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    creation_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    start_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    end_time_ms: int | None = state_column(
        filterable=False, detail=True, format_fn=Humanify.timestamp, default=None
    )
    task_log_info: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    error_message: str | None = state_column(filterable=False, detail=True, default=None)
    is_debugger_paused: bool | None = state_column(filterable=True, detail=True, default=None)
    call_site: str | None = state_column(filterable=False, detail=True, default=None)
    label_selector: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)
    fallback_strategy: dict[str, Any] | None = state_column(filterable=False, detail=True, default=None)


@dataclass
class ObjectState(StateSchema):
    """A reference that a process holds to an object."""

    object_id: str = state_column(filterable=True)
    object_size: int = state_column(filterable=True, format_fn=Humanify.memory)
    task_status: str = state_column(filterable=True)
    attempt_number: int = state_column(filterable=True)
    reference_type: str = state_column(filterable=True)
    call_site: str = state_column(filterable=True)
    type: str = state_column(filterable=True)
    pid: int = state_column(filterable=True)
    ip: str = state_column(filterable=True)


@dataclass
class RuntimeEnvState(StateSchema):
    """A runtime environment on a node."""

    runtime_env: dict[str, Any] = state_column(filterable=True)
    success: bool = state_column(filterable=True)
    creation_time_ms: float | None = state_column(filterable=False, format_fn=Humanify.timestamp)
    node_id: str = state_column(filterable=True)
    ref_cnt: int | None = state_column(filterable=False, detail=True, default=None)
    error: str | None = state_column(filterable=True, detail=True, default=None)
