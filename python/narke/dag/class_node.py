"""`ClassNode` and `ClassMethodNode`: actors and calls of their methods in a graph."""

from __future__ import annotations

from typing import Any

from narke.dag.constants import (
    BIND_INDEX_KEY,
    IS_CLASS_METHOD_OUTPUT_KEY,
    PARENT_CLASS_NODE_KEY,
    PREV_CLASS_METHOD_CALL_KEY,
)
from narke.dag.dag_node import DAGNode

__all__ = ["ClassMethodNode", "ClassNode", "bind_method"]


class ClassNode(DAGNode):
    """An actor that each run of the graph starts anew.

    Args:
        cls: the plain class.
        cls_args, cls_kwargs: arguments of its ``__init__``.
        cls_options: options of the actor.
        other_args_to_resolve: see `DAGNode`.
    """

    def __init__(
        self,
        cls: type,
        cls_args: tuple[Any, ...],
        cls_kwargs: dict[str, Any],
        cls_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        self._body = cls
        self._last_call: ClassMethodNode | None = None
        super().__init__(cls_args, cls_kwargs, cls_options, other_args_to_resolve)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: Any) -> Any:
        from narke.actor import _make_actor

        return _make_actor(self._body, self._bound_options).remote(*args, **kwargs)

    def __getattr__(self, method_name: str) -> Any:
        if method_name in ("bind", "remote") or method_name.startswith("_"):
            return super().__getattr__(method_name)
        getattr(self._body, method_name)  # raises for what the class does not have
        return _UnboundMethod(self, method_name, {})

    def _body_text(self) -> str:
        return str(self._body)


class _UnboundMethod:
    """A method of an actor in a graph, before its arguments are given."""

    def __init__(self, actor: ClassNode, method_name: str, options: dict[str, Any]) -> None:
        self._actor = actor
        self._method_name = method_name
        self._options = options

    def options(self, **options: Any) -> _UnboundMethod:
        """The method with options of its own."""
        return _UnboundMethod(self._actor, self._method_name, {**self._options, **options})

    def bind(self, *args: Any, **kwargs: Any) -> ClassMethodNode:
        """A node for a call; calls of one actor run in the order in which they were bound."""
        previous = self._actor._last_call
        other = {
            PARENT_CLASS_NODE_KEY: self._actor,
            PREV_CLASS_METHOD_CALL_KEY: previous,
            BIND_INDEX_KEY: 0
            if previous is None
            else previous._bound_other_args_to_resolve[BIND_INDEX_KEY] + 1,
        }
        node = ClassMethodNode(self._method_name, args, kwargs, self._options, other)
        self._actor._last_call = node
        return node


class ClassMethodNode(DAGNode):
    """A call of an actor's method, or one of the several values such a call returns.

    Args:
        method_name: the method.
        method_args, method_kwargs: its arguments; for an output, the call's node and the index.
        method_options: options of the call.
        other_args_to_resolve: the actor (a `ClassNode` or a handle), the call bound before this one, and the index.
    """

    def __init__(
        self,
        method_name: str,
        method_args: tuple[Any, ...],
        method_kwargs: dict[str, Any],
        method_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any],
    ) -> None:
        self._method_name = method_name
        super().__init__(method_args, method_kwargs, method_options, other_args_to_resolve)

    def _run(self, execution: Any) -> Any:
        previous = self._bound_other_args_to_resolve.get(PREV_CLASS_METHOD_CALL_KEY)
        if previous is not None:
            previous._run(execution)
        return super()._run(execution)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: Any) -> Any:
        if self.is_class_method_output:
            return args[0][args[1]]
        actor = execution.resolve(self._bound_other_args_to_resolve[PARENT_CLASS_NODE_KEY])
        method = getattr(actor, self._method_name)
        return (method.options(**self._bound_options) if self._bound_options else method).remote(
            *args, **kwargs
        )

    def get_method_name(self) -> str:
        """The method."""
        return self._method_name

    @property
    def num_returns(self) -> int:
        """How many values the call returns."""
        return 1 if self.is_class_method_output else self._bound_options.get("num_returns") or 1

    @property
    def is_class_method_output(self) -> bool:
        """Whether this is one value of a call that returns several."""
        return bool(self._bound_other_args_to_resolve.get(IS_CLASS_METHOD_OUTPUT_KEY))

    @property
    def is_class_method_call(self) -> bool:
        """Whether this is a call."""
        return not self.is_class_method_output

    @property
    def class_method_call(self) -> ClassMethodNode | None:
        """The call this is a value of; None for a call."""
        return self._bound_args[0] if self.is_class_method_output else None

    @property
    def output_idx(self) -> int | None:
        """Which value of the call this is; None for a call."""
        return self._bound_args[1] if self.is_class_method_output else None

    def _body_text(self) -> str:
        return f"{self._method_name}()"


_bound_calls: dict[bytes, int] = {}


def bind_method(
    actor: Any, method_name: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> ClassMethodNode | tuple[ClassMethodNode, ...]:
    """A node for a call of a running actor's method; one for each value when it returns several."""
    key = actor._ref.actor_id
    index = _bound_calls[key] = _bound_calls.get(key, -1) + 1
    options = {name: value for name, value in options.items() if value is not None}
    count = options.setdefault("num_returns", 1)
    other = {PARENT_CLASS_NODE_KEY: actor, PREV_CLASS_METHOD_CALL_KEY: None, BIND_INDEX_KEY: index}
    call = ClassMethodNode(method_name, args, kwargs, options, other)
    if not isinstance(count, int) or count <= 1:
        return call
    outputs = {IS_CLASS_METHOD_OUTPUT_KEY: True, PARENT_CLASS_NODE_KEY: actor}
    return tuple(ClassMethodNode(f"return_idx_{i}", (call, i), {}, {}, outputs) for i in range(count))
