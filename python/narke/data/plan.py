"""Logical plans: what a dataset is, before anything runs. Nodes are immutable and hold their inputs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Generator, Mapping
from typing import Any, NamedTuple

from narke.data.compute import ActorPoolStrategy, Compute, TaskPoolStrategy
from narke.data.transforms import Step, step_title


class Bundle(NamedTuple):
    """A block in the object store and what is known of it: rows, bytes, Arrow schema."""

    ref: Any
    rows: int
    size_bytes: int
    schema: Any


class Work(NamedTuple):
    """A task to start: a function of `narke.data.execute.tasks` and its arguments.

    With `returns` it gives so many objects, whose references go back to the planner that asked for the task; else it
    is a generator, whose blocks are the operator's output.
    """

    function: Callable[..., Any]
    args: tuple
    returns: int = 0


class Limits(NamedTuple):
    """What a planner goes by: options of its tasks, bytes that one task may merge, tasks that run at once."""

    options: Mapping[str, Any]
    merge_bytes: int
    width: int


Works = Generator[Work, list[Any], None]


@dataclasses.dataclass(frozen=True)
class Node:
    """A logical operator; `inputs` are the nodes it reads."""

    inputs: tuple[Node, ...] = ()

    @property
    def name(self) -> str:
        """What stats and explanations call it."""
        return type(self).__name__


@dataclasses.dataclass(frozen=True)
class Blocks(Node):
    """Blocks that exist already; `frames` says that they were DataFrames."""

    bundles: tuple[Bundle, ...] = ()
    frames: bool = False


@dataclasses.dataclass(frozen=True)
class Read(Node):
    """A data source, read by as many tasks as it makes of `parallelism` (-1: as the context says), then `steps`."""

    source: Any = None
    parallelism: int = -1
    remote_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    compute: Compute = TaskPoolStrategy()
    steps: tuple[Step, ...] = ()
    row_limit: int | None = None

    @property
    def name(self) -> str:
        return "->".join([f"Read{self.source.get_name()}", *(step_title(s) for s in self.steps)])


@dataclasses.dataclass(frozen=True)
class Map(Node):
    """Steps over each block, in tasks or actors.

    Args:
        keeps_rows: each row gives one row, in order, so that a limit may be taken before.
        projection: (new name, column) pairs when this is nothing but a choice of columns.
        predicate: expression when this is nothing but a filter by it.
        min_rows, min_bytes: blocks are put together until they have so many rows and bytes.
    """

    steps: tuple[Step, ...] = ()
    compute: Compute = TaskPoolStrategy()
    remote_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    keeps_rows: bool = False
    projection: tuple[tuple[str, str], ...] | None = None
    predicate: Any = None
    min_rows: int | None = None
    min_bytes: int | None = None

    @property
    def name(self) -> str:
        return "->".join(step_title(s) for s in self.steps)

    @property
    def in_actors(self) -> bool:
        """Whether it runs in a pool of actors."""
        return isinstance(self.compute, ActorPoolStrategy)


@dataclasses.dataclass(frozen=True)
class Limit(Node):
    """The first rows."""

    rows: int = 0


@dataclasses.dataclass(frozen=True)
class Gather(Node):
    """Needs all its inputs' blocks; then `planner` turns them into tasks, whose outputs come out in order.

    Args:
        planner: object with `plan(inputs: list[list[Bundle]], limits: Limits) -> Works`. remote_args: of its tasks.
    """

    planner: Any = None
    remote_args: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def name(self) -> str:
        return type(self.planner).__name__


@dataclasses.dataclass(frozen=True)
class Union(Node):
    """The blocks of the first input, then of the second, and so on."""


def known_rows(plan: Node) -> int | None:
    """Number of rows of a plan, where it is known without running it."""
    if isinstance(plan, Blocks):
        return sum(bundle.rows for bundle in plan.bundles)
    if isinstance(plan, Read):
        return plan.source.known_rows()
    if isinstance(plan, Limit):
        below = known_rows(plan.inputs[0])
        return None if below is None else min(below, plan.rows)
    if isinstance(plan, Map) and plan.keeps_rows and all(step.kind == "block" for step in plan.steps):
        return known_rows(plan.inputs[0])
    return None


def explain(node: Node, depth: int = 0) -> str:
    """The plan as indented text, outputs first."""
    lines = ["   " * depth + ("+- " if depth else "") + node.name]
    return "\n".join(lines + [explain(child, depth + 1) for child in node.inputs])
