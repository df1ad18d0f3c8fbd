"""Rewrites of logical plans: fewer tasks, fewer columns and rows read. The rows that come out stay the same."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from narke.data.compute import Compute, task_limit
from narke.data.partials import Partial
from narke.data.plan import Limit, Map, Node, Read
from narke.data.transforms import Step


def optimize(node: Node) -> Node:
    """The plan after all rewrites: limits and projections go to the reads, then neighbouring maps join."""
    return _coded(_narrowed(_fuse(_push(node))))


def _narrowed(node: Node) -> Node:
    """Let reads leave out the columns that nothing in their task looks at."""
    if not isinstance(node, Read):
        return _with_inputs(node, _narrowed)
    names = _needed(node.steps)
    source = node.source.with_columns(sorted(names)) if names else None
    return node if source is None else dataclasses.replace(node, source=source)


def _needed(steps: tuple[Step, ...]) -> set[str] | None:
    """Columns that steps need of what they are given; None when that is not known."""
    needed: set[str] | None = None
    for step in reversed(steps):
        reads = getattr(step.fn, "needs", None)
        if reads is None or step.kind not in ("block", "stream"):
            needed = None
        else:
            needed = reads(needed)
    return needed


def _coded(node: Node) -> Node:
    """Let reads whose only use is an aggregation give the texts of its keys as numbers into a dictionary."""
    if not isinstance(node, Read) or not node.steps or not isinstance(node.steps[-1].fn, Partial):
        return _with_inputs(node, _coded)
    keys = set(node.steps[-1].fn.keys)
    for step in node.steps[:-1]:
        touched = getattr(step.fn, "touches", None)
        if touched is None or step.kind not in ("block", "stream"):
            return node
        keys -= touched
    source = node.source.with_dictionaries(sorted(keys)) if keys else None
    return node if source is None else dataclasses.replace(node, source=source)


def _with_inputs(node: Node, change: Callable[[Node], Node]) -> Node:
    inputs = tuple(change(child) for child in node.inputs)
    return node if inputs == node.inputs else dataclasses.replace(node, inputs=inputs)


def _push(node: Node) -> Node:
    if isinstance(node, Limit):
        return _push_limit(node)
    if isinstance(node, Map):
        return _push_into_read(dataclasses.replace(node, inputs=(_push(node.inputs[0]),)))
    return _with_inputs(node, _push)


def _push_limit(node: Limit) -> Node:
    """Take a limit before maps that keep the number of rows, and tell a read how many rows matter."""
    child = node.inputs[0]
    if isinstance(child, Limit):
        return _push(Limit(child.inputs, min(node.rows, child.rows)))
    if isinstance(child, Map) and child.keeps_rows and not child.in_actors:
        return _push(dataclasses.replace(child, inputs=(Limit(child.inputs, node.rows),)))
    child = _push(child)
    if isinstance(child, Read) and not child.steps:
        known = node.rows if child.row_limit is None else min(child.row_limit, node.rows)
        child = dataclasses.replace(child, row_limit=known)
    return Limit((child,), node.rows)


def _push_into_read(node: Map) -> Node:
    """Let the data source choose columns or rows where it can; the map falls away then."""
    read = node.inputs[0]
    if not isinstance(read, Read) or read.steps or read.row_limit is not None:
        return node
    source = None
    if node.projection is not None and all(new == old for new, old in node.projection):
        source = read.source.with_columns([old for _, old in node.projection])
    elif node.predicate is not None:
        source = read.source.with_predicate(node.predicate)
    if source is None:
        return node
    read = dataclasses.replace(read, source=source)
    return read if source.exact_pushdown else dataclasses.replace(node, inputs=(read,))


def _fuse(node: Node) -> Node:
    node = _with_inputs(node, _fuse)
    if not isinstance(node, Map) or node.in_actors or node.min_rows is not None or node.min_bytes:
        return node
    child = node.inputs[0]
    if not isinstance(child, (Map, Read)) or not _alike(node, child):
        return node
    if isinstance(child, Map):
        joined = dataclasses.replace(child, steps=child.steps + node.steps, projection=None, predicate=None)
        return dataclasses.replace(joined, keeps_rows=child.keeps_rows and node.keeps_rows)
    return dataclasses.replace(child, steps=child.steps + node.steps, compute=_narrower(node, child))


def _alike(node: Map, child: Map | Read) -> bool:
    """Whether both may run in one task: no batches to be filled across blocks, same resources, same bound."""
    if isinstance(child, Map) and child.in_actors:
        return False
    same = dict(node.remote_args) == dict(child.remote_args)
    sizes = {task_limit(node.compute), task_limit(child.compute)} - {None}
    return same and len(sizes) <= 1


def _narrower(node: Map, child: Read) -> Compute:
    return child.compute if task_limit(node.compute) is None else node.compute
