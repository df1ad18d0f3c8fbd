"""Questions about the cluster's state: actors, tasks, objects, nodes, workers, jobs, logs."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from typing import Any

import narke
from narke.util.annotations import DeveloperAPI
from narke.util.state import _logs
from narke.util.state.common import (
    DEFAULT_LIMIT,
    DEFAULT_RPC_TIMEOUT,
    DRIVER_TASK_ID_PREFIX,
    RAY_MAX_LIMIT_FROM_API_SERVER,
    ActorState,
    ActorSummaries,
    FilterType,
    GetApiOptions,
    GetLogOptions,
    JobState,
    ListApiOptions,
    NodeState,
    ObjectState,
    ObjectSummaries,
    PlacementGroupState,
    StateResource,
    StateSchema,
    SummaryApiOptions,
    SummaryResource,
    TaskState,
    TaskSummaries,
    TaskSummaryPerFuncOrClassName,
    WorkerState,
    dict_to_state,
    filter_fields,
    resource_to_schema,
)
from narke.util.state.exception import RayStateApiException, ServerUnavailable

__all__ = [
    "StateApiClient",
    "get_actor",
    "get_job",
    "get_log",
    "get_node",
    "get_objects",
    "get_placement_group",
    "get_task",
    "get_worker",
    "list_actors",
    "list_cluster_events",
    "list_jobs",
    "list_logs",
    "list_nodes",
    "list_objects",
    "list_placement_groups",
    "list_runtime_envs",
    "list_tasks",
    "list_workers",
    "summarize_actors",
    "summarize_objects",
    "summarize_tasks",
    "warnings_on_slow_request",
]

_log = logging.getLogger(__name__)

_ID_FIELDS = {
    StateResource.ACTORS: ("actor_id",),
    StateResource.JOBS: ("submission_id", "job_id"),
    StateResource.PLACEMENT_GROUPS: ("placement_group_id",),
    StateResource.NODES: ("node_id",),
    StateResource.WORKERS: ("worker_id",),
    StateResource.TASKS: ("task_id",),
    StateResource.OBJECTS: ("object_id",),
}


@contextlib.contextmanager
def warnings_on_slow_request(*, address: str, endpoint: str, timeout: float, explain: bool) -> Iterator[None]:
    """Say how long a query took when it took longer than a tenth of its timeout.

    Args:
        address: the cluster asked.
        endpoint: what it was asked.
        timeout: seconds the query may take.
        explain: say it; otherwise this does nothing.
    """
    started_s = time.monotonic()
    yield
    elapsed_s = time.monotonic() - started_s
    if explain and elapsed_s > timeout / 10:
        _log.info("%s of %s took %.2f of at most %s s", endpoint, address, elapsed_s, timeout)


def _snapshot(kind: StateResource, **filters: Any) -> list[dict[str, Any]]:
    """Every record of a kind as the cluster knows it now."""
    from narke._private import state

    return state.snapshot(kind.value, **filters)


@DeveloperAPI
class StateApiClient:
    """Asks a cluster for its state.

    Args:
        address: the cluster; None for the one this program is connected to, or else one that runs on this
            host.
        cookies: accepted for programs that pass them; the connection is no HTTP.
        headers: likewise.

    Raises:
        ServerUnavailable: no cluster answers.
    """

    def __init__(
        self,
        address: str | None = None,
        cookies: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        _connect(address)
        self._address = address or narke.get_runtime_context().gcs_address

    def get_address(self) -> str:
        """Return the cluster's address."""
        return self._address

    def get_version(self) -> str:
        """Return the version of the API that the cluster implements."""
        return narke.__version__

    def list(
        self,
        resource: StateResource,
        options: ListApiOptions,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> list[Any]:
        """Return records of a kind.

        Args:
            resource: the kind.
            options: filters, limit and details.
            raise_on_missing_output: raise when the limit allowed for one answer cut records off.
            _explain: log how long the query took and what the limit left out.

        Raises:
            RayStateApiException: a filter cannot be used, or records are missing.
        """
        if options.limit > RAY_MAX_LIMIT_FROM_API_SERVER:
            raise RayStateApiException(
                f"Given limit {options.limit} exceeds the supported limit {RAY_MAX_LIMIT_FROM_API_SERVER}. "
                "Use filters to ask for fewer records."
            )
        if options.has_conflicting_filters():
            return []
        with warnings_on_slow_request(
            address=self._address,
            endpoint=f"list of {resource.value}",
            timeout=options.timeout,
            explain=_explain,
        ):
            found = _matching(resource, options.filters or [], options.limit, detail=options.detail)
        if resource is StateResource.TASKS and options.exclude_driver:
            found = [task for task in found if not task["task_id"].startswith(DRIVER_TASK_ID_PREFIX)]
        if len(found) > options.limit and _explain:
            _log.warning("%d of %d %s are shown; raise limit=", options.limit, len(found), resource.value)
        schema = resource_to_schema(resource)
        return [_record(entry, schema, resource, options.detail) for entry in found[: options.limit]]

    def get(
        self, resource: StateResource, id: str, options: GetApiOptions | None, _explain: bool = False
    ) -> Any:
        """Return the record with an id, None when there is none; for objects and tasks several may exist.

        Raises:
            RayStateApiException: records of this kind have no id.
        """
        if resource not in _ID_FIELDS:
            raise RayStateApiException(f"{resource.value} cannot be asked for by id")
        timeout = (options or GetApiOptions()).timeout
        endpoint = f"{resource.value} {id}"
        with warnings_on_slow_request(
            address=self._address, endpoint=endpoint, timeout=timeout, explain=_explain
        ):
            everything = _snapshot(resource, **_by_id(resource, id))
        found = [entry for entry in everything if any(entry.get(name) == id for name in _ID_FIELDS[resource])]
        schema = resource_to_schema(resource)
        records = [_record(entry, schema, resource, detail=True) for entry in found]
        if not records:
            return None
        several = resource is StateResource.OBJECTS or (resource is StateResource.TASKS and len(records) > 1)
        return records if several else records[0]

    def summary(
        self,
        resource: SummaryResource,
        *,
        options: SummaryApiOptions,
        raise_on_missing_output: bool = True,
        _explain: bool = False,
    ) -> dict[str, Any]:
        """Return counts of records: ``{"cluster": counts}``.

        Raises:
            RayStateApiException: a filter cannot be used.
        """
        filters = options.filters or []
        with warnings_on_slow_request(
            address=self._address,
            endpoint=f"summary of {resource.value}",
            timeout=options.timeout,
            explain=_explain,
        ):
            summary = _summary(resource, filters, options.summary_by)
        return {"cluster": dataclasses.asdict(summary)}


def _summary(resource: SummaryResource, filters: list[FilterType], summary_by: str | None) -> Any:
    if resource is SummaryResource.TASKS and summary_by != "lineage" and not filters:
        return _tasks_by_function()
    found = _matching(StateResource(resource.value), filters, detail=summary_by == "lineage")
    if resource is SummaryResource.ACTORS:
        return ActorSummaries.to_summary(actors=found)
    if resource is SummaryResource.OBJECTS:
        return ObjectSummaries.to_summary(objects=found)
    tasks = [task for task in found if not task["task_id"].startswith(DRIVER_TASK_ID_PREFIX)]
    if summary_by == "lineage":
        return TaskSummaries.to_summary_by_lineage(tasks=tasks, actors=_snapshot(StateResource.ACTORS))
    return TaskSummaries.to_summary_by_func_name(tasks=tasks)


def _tasks_by_function() -> TaskSummaries:
    """Counted by the node: a million tasks take it some milliseconds."""
    from narke._private import state

    counted = state.task_summary()
    rows = {
        row["func_or_class_name"]: TaskSummaryPerFuncOrClassName(
            row["func_or_class_name"], row["type"], dict(row["state_counts"])
        )
        for row in counted["summary"]
    }
    totals = (counted["total_tasks"], counted["total_actor_tasks"], counted["total_actor_scheduled"])
    return TaskSummaries(rows, *totals)


def _connect(address: str | None) -> None:
    if narke.is_initialized():
        return
    try:
        narke.init(address=address or "auto", log_to_driver=False)
    except ConnectionError as error:
        raise ServerUnavailable(address) from error


def _record(
    entry: dict[str, Any], schema: type[StateSchema], resource: StateResource, detail: bool
) -> StateSchema:
    fields = filter_fields(entry, schema, detail)
    # The node says "" where there is nothing to say.
    return dict_to_state({name: None if value == "" else value for name, value in fields.items()}, resource)


def _by_id(resource: StateResource, id: str) -> dict[str, Any]:
    """What to ask the node for when one id is looked for."""
    fields = _ID_FIELDS[resource]
    detail = {"detail": True} if resource is StateResource.TASKS else {}
    if len(fields) > 1 or not set(id) <= set("0123456789abcdef"):
        return detail
    return {"filters": [(fields[0], "=", id)], **detail}


def _matching(
    resource: StateResource, filters: list[FilterType], limit: int | None = None, detail: bool = False
) -> list[dict[str, Any]]:
    """The records that meet all filters, in the order of their ids."""
    schema = resource_to_schema(resource)
    filters = [(key.lower(), comparison, value) for key, comparison, value in filters]
    unknown = sorted({key for key, _, _ in filters} - schema.filterable_columns())
    if unknown:
        raise RayStateApiException(
            f"Invalid filter keys {unknown} for {resource.value}: filter by one of "
            f"{sorted(schema.filterable_columns())}"
        )
    more = {"detail": True} if detail and resource is StateResource.TASKS else {}
    try:
        entries = _snapshot(resource, filters=filters, limit=limit, **more)
    except ValueError as error:  # a value that the column cannot have
        raise RayStateApiException(str(error)) from error
    found = [entry for entry in entries if all(_meets(entry, each) for each in filters)]
    keys = _ID_FIELDS.get(resource, ())
    return sorted(found, key=lambda entry: [str(entry.get(key) or "") for key in keys])


def _meets(entry: dict[str, Any], condition: FilterType) -> bool:
    key, predicate, wanted = condition
    equal = _equal(entry.get(key), wanted)
    return equal if predicate == "=" else not equal


def _equal(value: Any, wanted: Any) -> bool:
    """Compare as the value's own type; text without regard to case."""
    if value is None:
        return wanted is None or str(wanted).lower() in ("none", "null")
    if isinstance(value, bool):
        return str(wanted).lower() in (("true", "1") if value else ("false", "0"))
    if isinstance(value, (int, float)):
        try:
            return float(value) == float(wanted)
        except (TypeError, ValueError):
            return False
    return str(value).lower() == str(wanted).lower()


def _get(resource: StateResource, id: str, address: str | None, timeout: float, explain: bool) -> Any:
    return StateApiClient(address).get(resource, id, GetApiOptions(timeout=int(timeout)), explain)


def _list(
    resource: StateResource,
    address: str | None,
    filters: list[FilterType] | None,
    limit: int,
    timeout: float,
    detail: bool,
    raise_on_missing_output: bool,
    explain: bool,
) -> list[Any]:
    options = ListApiOptions(limit=limit, timeout=int(timeout), detail=detail, filters=filters)
    return StateApiClient(address).list(resource, options, raise_on_missing_output, explain)


def _summarize(
    resource: SummaryResource,
    address: str | None,
    timeout: float,
    raise_on_missing_output: bool,
    explain: bool,
) -> dict[str, Any]:
    return StateApiClient(address).summary(
        resource,
        options=SummaryApiOptions(timeout=int(timeout)),
        raise_on_missing_output=raise_on_missing_output,
        _explain=explain,
    )


@DeveloperAPI
def get_actor(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> ActorState | None:
    """Return the actor with an id, None when there is none.

    Args:
        id: the id in hexadecimal digits.
        address: the cluster; None for the one this program is connected to.
        timeout: most seconds the query may take.
        _explain: log how long it took.

    Raises:
        RayStateApiException: the cluster gave no answer.
    """
    return _get(StateResource.ACTORS, id, address, timeout, _explain)


@DeveloperAPI
def get_job(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> JobState | None:
    """Return the job with a submission or job id, None when there is none.

    Args:
        id: the id in hexadecimal digits.
        address: the cluster; None for the one this program is connected to.
        timeout: most seconds the query may take.
        _explain: log how long it took.

    Raises:
        RayStateApiException: the cluster gave no answer.
    """
    return _get(StateResource.JOBS, id, address, timeout, _explain)


@DeveloperAPI
def get_placement_group(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> PlacementGroupState | None:
    """Return the placement group with an id, None when there is none.

    Args:
        id: the id in hexadecimal digits.
        address: the cluster; None for the one this program is connected to.
        timeout: most seconds the query may take.
        _explain: log how long it took.

    Raises:
        RayStateApiException: the cluster gave no answer.
    """
    return _get(StateResource.PLACEMENT_GROUPS, id, address, timeout, _explain)


@DeveloperAPI
def get_node(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> NodeState | None:
    """Return the node with an id, None when there is none.

    Args:
        id: the id in hexadecimal digits.
        address: the cluster; None for the one this program is connected to.
        timeout: most seconds the query may take.
        _explain: log how long it took.

    Raises:
        RayStateApiException: the cluster gave no answer.
    """
    return _get(StateResource.NODES, id, address, timeout, _explain)


@DeveloperAPI
def get_worker(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> WorkerState | None:
    """Return the worker with an id, None when there is none.

    Args:
        id: the id in hexadecimal digits.
        address: the cluster; None for the one this program is connected to.
        timeout: most seconds the query may take.
        _explain: log how long it took.

    Raises:
        RayStateApiException: the cluster gave no answer.
    """
    return _get(StateResource.WORKERS, id, address, timeout, _explain)


@DeveloperAPI
def get_task(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> TaskState | list[TaskState] | None:
    """Return the task with an id: its attempts as a list when there are several, None when there is none.

    Args:
        id: the id in hexadecimal digits.
        address: the cluster; None for the one this program is connected to.
        timeout: most seconds the query may take.
        _explain: log how long it took.

    Raises:
        RayStateApiException: the cluster gave no answer.
    """
    return _get(StateResource.TASKS, id, address, timeout, _explain)


@DeveloperAPI
def get_objects(
    id: str, address: str | None = None, timeout: int = DEFAULT_RPC_TIMEOUT, _explain: bool = False
) -> list[ObjectState]:
    """Return what each process that holds a reference to an object knows of it.

    Args:
        id: the id in hexadecimal digits.
        address: the cluster; None for the one this program is connected to.
        timeout: most seconds the query may take.
        _explain: log how long it took.

    Raises:
        RayStateApiException: the cluster gave no answer.
    """
    return _get(StateResource.OBJECTS, id, address, timeout, _explain) or []


@DeveloperAPI
def list_actors(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's actors; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.ACTORS, address, filters, limit, timeout, detail, raise_on_missing_output, _explain
    )


@DeveloperAPI
def list_placement_groups(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's placement groups; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.PLACEMENT_GROUPS,
        address,
        filters,
        limit,
        timeout,
        detail,
        raise_on_missing_output,
        _explain,
    )


@DeveloperAPI
def list_nodes(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's nodes; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.NODES, address, filters, limit, timeout, detail, raise_on_missing_output, _explain
    )


@DeveloperAPI
def list_jobs(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's jobs; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.JOBS, address, filters, limit, timeout, detail, raise_on_missing_output, _explain
    )


@DeveloperAPI
def list_workers(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's workers; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.WORKERS, address, filters, limit, timeout, detail, raise_on_missing_output, _explain
    )


@DeveloperAPI
def list_tasks(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's tasks; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.TASKS, address, filters, limit, timeout, detail, raise_on_missing_output, _explain
    )


@DeveloperAPI
def list_objects(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's objects; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.OBJECTS, address, filters, limit, timeout, detail, raise_on_missing_output, _explain
    )


@DeveloperAPI
def list_runtime_envs(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's runtime envs; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.RUNTIME_ENVS,
        address,
        filters,
        limit,
        timeout,
        detail,
        raise_on_missing_output,
        _explain,
    )


@DeveloperAPI
def list_cluster_events(
    address: str | None = None,
    filters: list[FilterType] | None = None,
    limit: int = DEFAULT_LIMIT,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    detail: bool = False,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> list[Any]:
    """Return the cluster's cluster events; parameters and errors as for `StateApiClient.list`."""
    return _list(
        StateResource.CLUSTER_EVENTS,
        address,
        filters,
        limit,
        timeout,
        detail,
        raise_on_missing_output,
        _explain,
    )


@DeveloperAPI
def summarize_tasks(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Return counts of the cluster's tasks; parameters and errors as for `StateApiClient.summary`."""
    return _summarize(SummaryResource.TASKS, address, timeout, raise_on_missing_output, _explain)


@DeveloperAPI
def summarize_actors(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Return counts of the cluster's actors; parameters and errors as for `StateApiClient.summary`."""
    return _summarize(SummaryResource.ACTORS, address, timeout, raise_on_missing_output, _explain)


@DeveloperAPI
def summarize_objects(
    address: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    raise_on_missing_output: bool = True,
    _explain: bool = False,
) -> dict[str, Any]:
    """Return counts of the cluster's objects; parameters and errors as for `StateApiClient.summary`."""
    return _summarize(SummaryResource.OBJECTS, address, timeout, raise_on_missing_output, _explain)


@DeveloperAPI
def get_log(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    filename: str | None = None,
    actor_id: str | None = None,
    task_id: str | None = None,
    pid: int | None = None,
    follow: bool = False,
    tail: int = -1,
    timeout: int = DEFAULT_RPC_TIMEOUT,
    suffix: str = "out",
    encoding: str | None = "utf-8",
    errors: str | None = "strict",
    submission_id: str | None = None,
    attempt_number: int = 0,
    _interval: float | None = None,
    filter_ansi_code: bool = False,
) -> Iterator[Any]:
    """Yield pieces of a log.

    Args:
        address: the cluster; None for the one this program is connected to.
        node_id: node the log lies on.
        node_ip: its address, instead.
        filename: the log's name, as `list_logs` gives it.
        actor_id: take the log of this actor's worker.
        task_id: take what this task wrote.
        pid: take the log of this process.
        follow: go on with what is written later.
        tail: last lines to give; -1 for all.
        timeout: most seconds the query may take; without bound when following.
        suffix: ``out`` or ``err``: which of a worker's two logs.
        encoding: how to decode; None for bytes.
        errors: what to do with bytes that cannot be decoded, as for `bytes.decode`.
        submission_id: take the log of this submitted job's driver.
        attempt_number: attempt of the task.
        _interval: seconds between two looks when following.
        filter_ansi_code: leave out the codes that colour text.

    Raises:
        RayStateApiException: there is no such log.
        ValueError: the arguments do not name one.
    """
    _connect(address)
    options = GetLogOptions(
        timeout=timeout,
        node_id=node_id,
        node_ip=node_ip,
        filename=filename,
        actor_id=actor_id,
        task_id=task_id,
        pid=pid,
        lines=tail,
        interval=_interval,
        media_type="stream" if follow else "file",
        suffix=suffix,
        submission_id=submission_id,
        attempt_number=attempt_number,
    )
    return _logs.read(options, encoding, errors or "strict", filter_ansi_code)


@DeveloperAPI
def list_logs(
    address: str | None = None,
    node_id: str | None = None,
    node_ip: str | None = None,
    glob_filter: str | None = None,
    timeout: int = DEFAULT_RPC_TIMEOUT,
) -> dict[str, list[str]]:
    """Return the names of a node's logs by group (driver, worker_out, node, ...).

    Args:
        address: the cluster; None for the one this program is connected to.
        node_id: the node.
        node_ip: its address, instead.
        glob_filter: pattern of the names; None for all.
        timeout: most seconds the query may take.

    Raises:
        RayStateApiException: there is no such node.
        ValueError: neither or both of node_id and node_ip are given.
    """
    _connect(address)
    return _logs.names(node_id, node_ip, glob_filter or "*")
