"""Counts over records: tasks by function, tasks by who submitted them, actors by class, objects by call
site.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "DRIVER_TASK_ID_PREFIX",
    "ActorSummaries",
    "ActorSummaryPerClass",
    "Link",
    "NestedTaskSummary",
    "ObjectSummaries",
    "ObjectSummaryPerKey",
    "StateSummary",
    "TaskSummaries",
    "TaskSummaryPerFuncOrClassName",
]

DRIVER_TASK_ID_PREFIX = "f" * 40
_MIB = 1 << 20


@dataclass
class TaskSummaryPerFuncOrClassName:
    """How many tasks of a function are in which state."""

    func_or_class_name: str
    type: str
    state_counts: dict[str, int] = field(default_factory=dict)


@dataclass
class Link:
    """What an entry of a tree of tasks stands for: ``type`` (task or actor) and id."""

    type: str
    id: str


@dataclass
class NestedTaskSummary:
    """A task, an actor or a group of equal tasks, with those that it submitted."""

    name: str
    key: str
    type: str
    timestamp: int | None = None
    state_counts: dict[str, int] = field(default_factory=dict)
    children: list[NestedTaskSummary] = field(default_factory=list)
    link: Link | None = None


@dataclass
class TaskSummaries:
    """Counts of tasks."""

    summary: dict[str, TaskSummaryPerFuncOrClassName] | list[NestedTaskSummary]
    total_tasks: int
    total_actor_tasks: int
    total_actor_scheduled: int
    summary_by: str = "func_name"

    @classmethod
    def to_summary_by_func_name(cls, *, tasks: list[dict[str, Any]]) -> TaskSummaries:
        """Count tasks by function."""
        summary: dict[str, TaskSummaryPerFuncOrClassName] = {}
        for task in tasks:
            name = task["func_or_class_name"]
            entry = summary.setdefault(name, TaskSummaryPerFuncOrClassName(name, task["type"]))
            _count(entry.state_counts, task["state"])
        return cls(summary, *_totals(tasks))

    @classmethod
    def to_summary_by_lineage(
        cls, *, tasks: list[dict[str, Any]], actors: list[dict[str, Any]]
    ) -> TaskSummaries:
        """Arrange tasks as a tree: under each task those it submitted, actors' calls under the actor."""
        return cls(_Lineage(tasks, actors).roots(), *_totals(tasks), summary_by="lineage")


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _totals(tasks: Iterable[dict[str, Any]]) -> tuple[int, int, int]:
    types = [task["type"] for task in tasks]
    return types.count("NORMAL_TASK"), types.count("ACTOR_TASK"), types.count("ACTOR_CREATION_TASK")


class _Lineage:
    """Builds the tree of tasks from their parents."""

    def __init__(self, tasks: list[dict[str, Any]], actors: list[dict[str, Any]]) -> None:
        self._tasks = {task["task_id"]: task for task in tasks}
        self._actors = {actor["actor_id"]: actor for actor in actors}
        self._entries: dict[str, NestedTaskSummary] = {}
        self._roots: list[NestedTaskSummary] = []
        for task_id in self._tasks:
            self._task_entry(task_id)

    def roots(self) -> list[NestedTaskSummary]:
        """The tree's top entries, with counts of everything below, equal siblings grouped."""
        grouped = _group_equals(self._roots)
        for entry in grouped:
            _add_up(entry)
        return _sorted(grouped)

    def _task_entry(self, task_id: str) -> NestedTaskSummary:
        if task_id not in self._entries:
            task = self._tasks[task_id]
            entry = NestedTaskSummary(
                name=task.get("name") or task["func_or_class_name"],
                key=task_id,
                type=task["type"],
                timestamp=task.get("creation_time_ms"),
                state_counts={task["state"]: 1},
                link=Link("task", task_id),
            )
            self._entries[task_id] = entry
            self._siblings_of(task).append(entry)
        return self._entries[task_id]

    def _siblings_of(self, task: dict[str, Any]) -> list[NestedTaskSummary]:
        if task["type"] in ("ACTOR_TASK", "ACTOR_CREATION_TASK") and task.get("actor_id"):
            return self._actor_entry(task).children
        return self._below(task.get("parent_task_id"))

    def _below(self, parent_id: str | None) -> list[NestedTaskSummary]:
        if not parent_id or parent_id.startswith(DRIVER_TASK_ID_PREFIX) or parent_id not in self._tasks:
            return self._roots
        return self._task_entry(parent_id).children

    def _actor_entry(self, task: dict[str, Any]) -> NestedTaskSummary:
        actor_id = task["actor_id"]
        key = f"actor:{actor_id}"
        if key not in self._entries:
            actor = self._actors.get(actor_id, {})
            name = (
                actor.get("repr_name") or actor.get("class_name") or task["func_or_class_name"].split(".")[0]
            )
            entry = NestedTaskSummary(
                name, key, "ACTOR", task.get("creation_time_ms"), link=Link("actor", actor_id)
            )
            self._entries[key] = entry
            creation = self._creation_of(actor_id) or task
            self._below(creation.get("parent_task_id")).append(entry)
        return self._entries[key]

    def _creation_of(self, actor_id: str) -> dict[str, Any] | None:
        for task in self._tasks.values():
            if task.get("actor_id") == actor_id and task["type"] == "ACTOR_CREATION_TASK":
                return task
        return None


def _group_equals(entries: list[NestedTaskSummary]) -> list[NestedTaskSummary]:
    """Put siblings of one name under a common entry where there are several."""
    by_name: dict[str, list[NestedTaskSummary]] = {}
    for entry in entries:
        entry.children = _group_equals(entry.children)
        by_name.setdefault(entry.name, []).append(entry)
    return [
        members[0]
        if len(members) == 1
        else NestedTaskSummary(name=name, key=name, type="GROUP", children=_sorted(members))
        for name, members in by_name.items()
    ]


def _add_up(entry: NestedTaskSummary) -> None:
    for child in entry.children:
        _add_up(child)
        for state, count in child.state_counts.items():
            entry.state_counts[state] = entry.state_counts.get(state, 0) + count
    times = [child.timestamp for child in entry.children if child.timestamp is not None]
    if entry.timestamp is None and times:
        entry.timestamp = min(times)
    entry.children = _sorted(entry.children)


def _sorted(entries: list[NestedTaskSummary]) -> list[NestedTaskSummary]:
    return sorted(entries, key=lambda entry: (entry.timestamp is None, entry.timestamp or 0))


@dataclass
class ActorSummaryPerClass:
    """How many actors of a class are in which state."""

    class_name: str
    state_counts: dict[str, int] = field(default_factory=dict)


@dataclass
class ActorSummaries:
    """Counts of actors."""

    summary: dict[str, ActorSummaryPerClass]
    total_actors: int
    summary_by: str = "class"

    @classmethod
    def to_summary(cls, *, actors: list[dict[str, Any]]) -> ActorSummaries:
        """Count actors by class."""
        summary: dict[str, ActorSummaryPerClass] = {}
        for actor in actors:
            entry = summary.setdefault(actor["class_name"], ActorSummaryPerClass(actor["class_name"]))
            _count(entry.state_counts, actor["state"])
        return cls(summary, len(actors))


@dataclass
class ObjectSummaryPerKey:
    """Counts of the objects made at one place in a program."""

    total_objects: int
    total_size_mb: float
    total_num_workers: int
    total_num_nodes: int
    task_state_counts: dict[str, int] = field(default_factory=dict)
    task_attempt_number_counts: dict[str, int] = field(default_factory=dict)
    ref_type_counts: dict[str, int] = field(default_factory=dict)


@dataclass
class ObjectSummaries:
    """Counts of objects."""

    summary: dict[str, ObjectSummaryPerKey]
    total_objects: int
    total_size_mb: float
    callsite_enabled: bool
    summary_by: str = "callsite"

    @classmethod
    def to_summary(cls, *, objects: list[dict[str, Any]]) -> ObjectSummaries:
        """Count objects by the place in the program that made them."""
        by_place: dict[str, list[dict[str, Any]]] = {}
        for entry in objects:
            by_place.setdefault(entry.get("call_site") or "disabled", []).append(entry)
        size_mb = sum(max(entry["object_size"], 0) for entry in objects) / _MIB
        known_places = any(place not in ("", "disabled") for place in by_place)
        summary = {place: _object_summary(entries) for place, entries in by_place.items()}
        return cls(summary, len(objects), size_mb, known_places)


def _object_summary(objects: list[dict[str, Any]]) -> ObjectSummaryPerKey:
    summary = ObjectSummaryPerKey(
        total_objects=len(objects),
        total_size_mb=sum(max(entry["object_size"], 0) for entry in objects) / _MIB,
        total_num_workers=len({(entry.get("ip"), entry.get("pid")) for entry in objects}),
        total_num_nodes=len({entry.get("ip") for entry in objects}),
    )
    for entry in objects:
        _count(summary.task_state_counts, entry.get("task_status") or "NIL")
        _count(summary.task_attempt_number_counts, str(entry.get("attempt_number") or 0))
        _count(summary.ref_type_counts, entry.get("reference_type") or "UNKNOWN_STATUS")
    return summary


@dataclass
class StateSummary:
    """Summaries by node; ``cluster`` stands for all nodes."""

    node_id_to_summary: dict[str, TaskSummaries | ActorSummaries | ObjectSummaries]
