"""Records, options and answers of the state API."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from enum import Enum, unique
from typing import Any

from narke.util.state._schemas import (
    ActorState,
    ClusterEventState,
    Humanify,
    JobState,
    NodeState,
    ObjectState,
    PlacementGroupState,
    RuntimeEnvState,
    StateSchema,
    TaskState,
    WorkerState,
    filter_fields,
    state_column,
)
from narke.util.state._summaries import (
    DRIVER_TASK_ID_PREFIX,
    ActorSummaries,
    ActorSummaryPerClass,
    Link,
    NestedTaskSummary,
    ObjectSummaries,
    ObjectSummaryPerKey,
    StateSummary,
    TaskSummaries,
    TaskSummaryPerFuncOrClassName,
)
from narke.util.state.exception import RayStateApiException

__all__ = [
    "AVAILABLE_STATES",
    "DEFAULT_DOWNLOAD_FILENAME",
    "DEFAULT_LIMIT",
    "DEFAULT_LOG_LIMIT",
    "DEFAULT_RPC_TIMEOUT",
    "DRIVER_TASK_ID_PREFIX",
    "RAY_MAX_LIMIT_FROM_API_SERVER",
    "RAY_MAX_LIMIT_FROM_DATA_SOURCE",
    "ActorState",
    "ActorSummaries",
    "ActorSummaryPerClass",
    "ClusterEventState",
    "GetApiOptions",
    "GetLogOptions",
    "Humanify",
    "JobState",
    "Link",
    "ListApiOptions",
    "ListApiResponse",
    "NestedTaskSummary",
    "NodeState",
    "ObjectState",
    "ObjectSummaries",
    "ObjectSummaryPerKey",
    "PlacementGroupState",
    "RuntimeEnvState",
    "StateResource",
    "StateSchema",
    "StateSummary",
    "SummaryApiOptions",
    "SummaryApiResponse",
    "SummaryResource",
    "SupportedFilterType",
    "TaskState",
    "TaskSummaries",
    "TaskSummaryPerFuncOrClassName",
    "WorkerState",
    "dict_to_state",
    "filter_fields",
    "protobuf_message_to_dict",
    "protobuf_to_task_state_dict",
    "remove_ansi_escape_codes",
    "resource_to_schema",
    "state_column",
]

DEFAULT_RPC_TIMEOUT = 30
DEFAULT_LIMIT = 100
DEFAULT_LOG_LIMIT = 1000
DEFAULT_DOWNLOAD_FILENAME = "file.txt"
RAY_MAX_LIMIT_FROM_API_SERVER = 10000
RAY_MAX_LIMIT_FROM_DATA_SOURCE = 10000

PredicateType = str
SupportedFilterType = str | bool | int | float
FilterType = tuple[str, PredicateType, SupportedFilterType]

_PREDICATES = ("=", "!=")
_ANSI_CODE = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")

AVAILABLE_STATES = [
    ActorState,
    PlacementGroupState,
    NodeState,
    WorkerState,
    JobState,
    TaskState,
    ObjectState,
    RuntimeEnvState,
]


@unique
class StateResource(Enum):
    """The kinds of records."""

    ACTORS = "actors"
    JOBS = "jobs"
    PLACEMENT_GROUPS = "placement_groups"
    NODES = "nodes"
    WORKERS = "workers"
    TASKS = "tasks"
    OBJECTS = "objects"
    RUNTIME_ENVS = "runtime_envs"
    CLUSTER_EVENTS = "cluster_events"


@unique
class SummaryResource(Enum):
    """The kinds of records that can be counted."""

    ACTORS = "actors"
    TASKS = "tasks"
    OBJECTS = "objects"


_SCHEMA_OF: dict[StateResource, type[StateSchema]] = {
    StateResource.ACTORS: ActorState,
    StateResource.JOBS: JobState,
    StateResource.PLACEMENT_GROUPS: PlacementGroupState,
    StateResource.NODES: NodeState,
    StateResource.WORKERS: WorkerState,
    StateResource.TASKS: TaskState,
    StateResource.OBJECTS: ObjectState,
    StateResource.RUNTIME_ENVS: RuntimeEnvState,
    StateResource.CLUSTER_EVENTS: ClusterEventState,
}


def _checked_filters(filters: list[FilterType] | None) -> list[FilterType]:
    checked = [tuple(each) for each in filters or []]
    for each in checked:
        if len(each) != 3:
            raise ValueError(f"a filter is (field, predicate, value), got {each!r}")
        if each[1] not in _PREDICATES:
            raise ValueError(
                f"Unsupported filter predicate {each[1]} is given. Available predicates: "
                f"{', '.join(_PREDICATES)}."
            )
    return checked  # type: ignore[return-value]


def _server_timeout(timeout: int, multiplier: float) -> int:
    """Seconds that the query itself may take, so that an answer is there within `timeout`."""
    return max(1, int(timeout * multiplier))


@dataclass
class ListApiOptions:
    """What a query for several records asks for; its timeout leaves time for the answer to arrive."""

    limit: int = DEFAULT_LIMIT
    timeout: int = DEFAULT_RPC_TIMEOUT
    detail: bool = False
    filters: list[FilterType] | None = field(default_factory=list)
    exclude_driver: bool = True
    server_timeout_multiplier: float = 0.8

    def __post_init__(self) -> None:
        self.timeout = _server_timeout(self.timeout, self.server_timeout_multiplier)
        self.filters = _checked_filters(self.filters)

    def has_conflicting_filters(self) -> bool:
        """Return whether no record can meet the filters: one field is to equal two values."""
        wanted: dict[str, Any] = {}
        for key, predicate, value in self.filters or []:
            if predicate == "=" and wanted.setdefault(key, value) != value:
                warnings.warn(
                    f"no record matches: {key!r} is to equal both {wanted[key]!r} and {value!r}", stacklevel=2
                )
                return True
        return False


@dataclass
class GetApiOptions:
    """What a query for one record asks for."""

    timeout: int = DEFAULT_RPC_TIMEOUT
    server_timeout_multiplier: float = 0.8

    def __post_init__(self) -> None:
        self.timeout = _server_timeout(self.timeout, self.server_timeout_multiplier)


@dataclass
class SummaryApiOptions:
    """What a query for counts asks for."""

    timeout: int = DEFAULT_RPC_TIMEOUT
    filters: list[FilterType] | None = field(default_factory=list)
    summary_by: str | None = None

    def __post_init__(self) -> None:
        self.filters = _checked_filters(self.filters)


@dataclass
class GetLogOptions:
    """Which log a query asks for, and how much of it.

    Raises:
        ValueError: the fields contradict each other, or do not name a log.
    """

    timeout: int
    node_id: str | None = None
    node_ip: str | None = None
    media_type: str = "file"
    filename: str | None = None
    download_filename: str = DEFAULT_DOWNLOAD_FILENAME
    actor_id: str | None = None
    task_id: str | None = None
    attempt_number: int = 0
    pid: int | None = None
    lines: int = DEFAULT_LOG_LIMIT
    interval: float | None = None
    suffix: str = "out"
    submission_id: str | None = None

    def __post_init__(self) -> None:
        self.pid = int(self.pid) if self.pid else None
        self.interval = float(self.interval) if self.interval else None
        self.lines = int(self.lines)
        if self.media_type not in ("file", "stream"):
            raise ValueError(f"media_type must be 'file' or 'stream', got {self.media_type!r}")
        if self.suffix not in ("out", "err"):
            raise ValueError(f"suffix must be 'out' or 'err', got {self.suffix!r}")
        by_id = self.actor_id or self.task_id or self.submission_id
        if not (by_id or self.node_id or self.node_ip):
            raise ValueError(
                "name the log's node with node_id or node_ip, or give actor_id, task_id or submission_id"
            )
        if self.node_id and self.node_ip:
            raise ValueError(f"give node_id or node_ip, not both: got {self.node_id} and {self.node_ip}")
        if not (by_id or self.filename or self.pid):
            raise ValueError("name the log by filename, pid, actor_id, task_id or submission_id")


@dataclass
class ListApiResponse:
    """Records, and how many there were before filters and limit."""

    total: int
    num_after_truncation: int
    num_filtered: int
    result: list[dict[str, Any]]
    partial_failure_warning: str | None = ""
    warnings: list[str] | None = None


@dataclass
class SummaryApiResponse:
    """Counts, and how many records there were before filters."""

    total: int
    num_after_truncation: int
    num_filtered: int
    result: StateSummary | None = None
    partial_failure_warning: str | None = ""
    warnings: list[str] | None = None


def resource_to_schema(resource: StateResource) -> type[StateSchema]:
    """Return the class of a kind's records.

    Raises:
        ValueError: there is no such kind.
    """
    if resource not in _SCHEMA_OF:
        raise ValueError(
            f"there is no kind {resource!r}; the choice is {[kind.value for kind in StateResource]}"
        )
    return _SCHEMA_OF[resource]


def dict_to_state(d: dict[str, Any], state_resource: StateResource) -> StateSchema:
    """Return a record from its fields.

    Raises:
        RayStateApiException: a field is missing or unknown.
    """
    schema = resource_to_schema(state_resource)
    try:
        return schema(**d)
    except TypeError as error:
        raise RayStateApiException(f"Failed to convert {d} to {schema.__name__}: {error}") from error


def remove_ansi_escape_codes(text: str) -> str:
    """Return text without the codes that colour it in a terminal."""
    return _ANSI_CODE.sub("", text)


def protobuf_message_to_dict(
    message: Any, fields_to_decode: list[str], preserving_proto_field_name: bool = True
) -> dict[str, Any]:
    """Return a protobuf message as a dictionary.

    Args:
        message: the message.
        fields_to_decode: fields of bytes to give in hexadecimal digits instead of base64, at any depth.
        preserving_proto_field_name: keep names as the schema writes them.

    Raises:
        ImportError: protobuf is not installed.
    """
    import base64

    from google.protobuf.json_format import MessageToDict

    def decode(value: Any) -> Any:
        if isinstance(value, list):
            return [decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {
            name: base64.b64decode(item).hex()
            if name in fields_to_decode and isinstance(item, str)
            else decode(item)
            for name, item in value.items()
        }

    return decode(MessageToDict(message, preserving_proto_field_name=preserving_proto_field_name))


def protobuf_to_task_state_dict(message: Any) -> dict[str, Any]:
    """Raise NotImplementedError: tasks are not described by protobuf messages here."""
    raise NotImplementedError(
        "tasks are not described by protobuf messages here; narke.util.state.list_tasks gives their records"
    )
