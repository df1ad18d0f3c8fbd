"""Plans with joins run in stages: right sides first, whose sizes then say how each join is done.

A join whose right side turns out small becomes a step over the blocks of its left side, in the same tasks as what
stands before and after it; only then is the plan optimised. Other joins stay exchanges of what is there by then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from narke.data.exchange import Join
from narke.data.joining import ONE_SIDED
from narke.data.optimize import optimize
from narke.data.plan import Blocks, Bundle, Gather, Map, Node, Read, Union
from narke.data.transforms import Step


class Stages:
    """What of a logical plan can run already, and what becomes of the rest."""

    def __init__(self, plan: Node):
        self._plan = _settled(plan, {})

    def sides(self) -> dict[int, Node]:
        """Right sides of joins to run now, optimised, by a number to give back; none when the whole plan can run."""
        found = {id(join.inputs[1]): join.inputs[1] for join in _open_joins(self._plan)}
        return {key: optimize(node) for key, node in found.items() if not any(_open_joins(node))}

    def settle(self, made: dict[int, list[Bundle]]) -> None:
        """Right sides have run; their blocks by their numbers."""
        self._plan = _settled(self._plan, made)

    def rest(self) -> Node:
        """The whole plan, optimised. REQUIRES: no more sides to run."""
        return optimize(self._plan)


def _open_joins(node: Node) -> Iterator[Gather]:
    """Joins whose right side has not run."""
    if isinstance(node, Gather) and isinstance(node.planner, Join) and not node.remote_args:
        if node.planner.terms.how in ONE_SIDED and not isinstance(node.inputs[1], Blocks):
            yield node
    for child in node.inputs:
        yield from _open_joins(child)


def _settled(node: Node, made: dict[int, list[Bundle]]) -> Node:
    """The plan with what has run, and with joins that need no exchange any more as steps."""
    if id(node) in made:
        return Blocks(bundles=tuple(made[id(node)]))
    inputs = tuple(_settled(child, made) for child in node.inputs)
    if any(new is not old for new, old in zip(inputs, node.inputs, strict=True)):
        node = dataclasses.replace(node, inputs=inputs)
    if not isinstance(node, Gather) or not isinstance(node.planner, Join) or node.remote_args:
        return node
    left, right = node.inputs
    if not isinstance(right, Blocks):
        return node
    step = node.planner.step(list(right.bundles), _estimate(left))
    return node if step is None else Map((left,), (Step("stream", step),))


def _estimate(node: Node) -> int | None:
    """Bytes that a plan makes, at most and about; None when nobody knows."""
    if isinstance(node, Blocks):
        return sum(b.size_bytes for b in node.bundles)
    if isinstance(node, Read):
        return node.source.estimate_inmemory_data_size()
    sizes = [_estimate(child) for child in (node.inputs if isinstance(node, Union) else node.inputs[:1])]
    return None if None in sizes else sum(size for size in sizes if size is not None)
