"""Graphs of calls in the manner of former releases: ``model.predict.bind(InputNode())`` behind a `DAGDriver`."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

__all__ = ["CallNode", "Given", "MethodNode", "evaluate", "given_of", "holds_calls"]


class MethodNode:
    """A method of a bound deployment, to be bound to arguments: ``model.predict``."""

    def __init__(self, application: Any, name: str) -> None:
        self._application = application
        self._name = name

    def bind(self, *args: Any, **kwargs: Any) -> CallNode:
        """The call of the method with these arguments, which may be nodes."""
        return CallNode(self._application, self._name, args, kwargs)


class CallNode:
    """A call that is made for each request.

    Attributes:
        target: the bound deployment; its handle once the graph is built.
        method: what is called.
        args, kwargs: values, inputs and further calls.
    """

    def __init__(self, target: Any, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.target = target
        self.method = method
        self.args = args
        self.kwargs = kwargs


@dataclasses.dataclass
class Given:
    """What a request brings, or a part of it.

    Attributes:
        part: index, key or name of the part; None: the whole.
        is_attribute: the part is an attribute.
    """

    part: Any = None
    is_attribute: bool = False

    def of(self, value: Any) -> Any:
        """This of a request's input."""
        if self.part is None:
            return value
        return getattr(value, self.part) if self.is_attribute else value[self.part]


def given_of(value: Any) -> Given | None:
    """What an ``InputNode``, or a part of one, stands for; None for anything else."""
    from narke.dag import InputAttributeNode, InputNode

    if isinstance(value, InputNode):
        return Given()
    if isinstance(value, InputAttributeNode):
        return Given(value.key, value._accessor_method == "__getattr__")
    return None


def holds_calls(value: Any) -> bool:
    """Whether a value is, or holds, an input or a call."""
    if isinstance(value, CallNode) or given_of(value) is not None:
        return True
    if isinstance(value, dict):
        return any(holds_calls(item) for item in value.values())
    return isinstance(value, (list, tuple)) and any(holds_calls(item) for item in value)


async def evaluate(value: Any, given: Any, calls: dict[int, asyncio.Future[Any]]) -> Any:
    """A value with its inputs and calls replaced by what they are for one request.

    Args:
        given: the request's input.
        calls: under way, by node: a node that is used twice is called once.
    """
    if isinstance(value, CallNode):
        if id(value) not in calls:
            calls[id(value)] = asyncio.ensure_future(_call(value, given, calls))
        return await calls[id(value)]
    if isinstance(value, Given):
        return value.of(given)
    if isinstance(value, (list, tuple)):
        return type(value)(await asyncio.gather(*(evaluate(item, given, calls) for item in value)))
    if isinstance(value, dict):
        items = await asyncio.gather(*(evaluate(item, given, calls) for item in value.values()))
        return dict(zip(value, items, strict=True))
    return value


async def _call(node: CallNode, given: Any, calls: dict[int, asyncio.Future[Any]]) -> Any:
    args = await evaluate(list(node.args), given, calls)
    kwargs = await evaluate(node.kwargs, given, calls)
    return await node.target.options(method_name=node.method).remote(*args, **kwargs)
