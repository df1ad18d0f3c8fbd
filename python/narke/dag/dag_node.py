"""`DAGNode`: a call that has not been made yet, with the nodes it depends on among its arguments."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from typing import Any

from narke.dag.base import DAGNodeBase
from narke.dag.format_utils import get_dag_node_str

__all__ = ["DAGNode"]


class DAGNode(DAGNodeBase):
    """A node of a graph; made by ``bind()``.

    Args:
        args: positional arguments; nodes may be anywhere inside lists, tuples, dicts and sets.
        kwargs: keyword arguments, likewise.
        options: options of the call.
        other_args_to_resolve: further nodes and facts that belong to the node.
    """

    def __init__(
        self,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        self._bound_args = tuple(args or ())
        self._bound_kwargs = dict(kwargs or {})
        self._bound_options = dict(options or {})
        self._bound_other_args_to_resolve = dict(other_args_to_resolve or {})
        self._stable_uuid = uuid.uuid4().hex
        self._type_hint: Any = None
        self.cache_from_last_execute: dict[str, Any] = {}

    def get_args(self) -> tuple[Any, ...]:
        """The positional arguments."""
        return self._bound_args

    def get_kwargs(self) -> dict[str, Any]:
        """The keyword arguments, copied."""
        return dict(self._bound_kwargs)

    def get_options(self) -> dict[str, Any]:
        """The options of the call, copied."""
        return dict(self._bound_options)

    def get_other_args_to_resolve(self) -> dict[str, Any]:
        """What else belongs to the node, copied."""
        return dict(self._bound_other_args_to_resolve)

    def get_stable_uuid(self) -> str:
        """A name that the node and its copies keep."""
        return self._stable_uuid

    @property
    def type_hint(self) -> Any:
        """How the node's result travels, as `with_tensor_transport` said; None for the object store."""
        return self._type_hint

    def with_tensor_transport(
        self,
        transport: Any = "auto",
        device: str = "default",
        _static_shape: bool = False,
        _direct_return: bool = False,
    ) -> DAGNode:
        """Say how tensors of the result travel; kept as `type_hint`, values go through the object store.

        Args:
            transport: the way.
            device: where tensors shall be afterwards.

        Returns:
            the node.
        """
        self._type_hint = {"transport": transport, "device": device}
        return self

    def execute(self, *args: Any, _ray_cache_refs: bool = False, **kwargs: Any) -> Any:
        """Run the graph that ends in this node.

        Args:
            args, kwargs: what its `InputNode` stands for.
            _ray_cache_refs: remember the references for `get_object_refs_from_last_execute`.

        Returns:
            what the call returns: an ObjectRef, an actor handle for a `ClassNode`, a list for a `MultiOutputNode`.
        """
        results: dict[str, Any] = {}
        result = self._run(_Execution(args, kwargs, results))
        self.cache_from_last_execute = results if _ray_cache_refs else {}
        return result

    def get_object_refs_from_last_execute(self) -> dict[str, Any]:
        """The references by node, after ``execute(_ray_cache_refs=True)``."""
        return dict(self.cache_from_last_execute)

    def clear_cache(self) -> None:
        """Forget the references of the last execution."""
        self.cache_from_last_execute = {}

    def experimental_compile(
        self,
        _submit_timeout: float | None = None,
        _buffer_size_bytes: int | None = None,
        enable_asyncio: bool = False,
        _max_inflight_executions: int | None = None,
        _max_buffered_results: int | None = None,
        _overlap_gpu_communication: bool | None = None,
        _default_communicator: Any = "create",
    ) -> Any:
        """Refuse: graphs run by `execute` only.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError(
            "Compiled graphs are not available: call execute() of the node; it runs the same graph"
        )

    def _run(self, execution: _Execution) -> Any:
        """This node's result in an execution, computed once."""
        if self._stable_uuid not in execution.results:
            args = tuple(execution.resolve(arg) for arg in self._bound_args)
            kwargs = {name: execution.resolve(value) for name, value in self._bound_kwargs.items()}
            execution.results[self._stable_uuid] = self._call(args, kwargs, execution)
        return execution.results[self._stable_uuid]

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: _Execution) -> Any:
        raise NotImplementedError

    def _copy(
        self,
        new_args: Any,
        new_kwargs: dict[str, Any],
        new_options: dict[str, Any],
        new_other_args_to_resolve: dict[str, Any],
    ) -> DAGNode:
        """The node with other arguments and the same name."""
        twin = copy.copy(self)
        DAGNode.__init__(twin, tuple(new_args), new_kwargs, new_options, new_other_args_to_resolve)
        twin._stable_uuid = self._stable_uuid
        return twin

    def apply_recursive(self, fn: Callable[[DAGNode], Any]) -> Any:
        """Apply a function to every node, those it depends on first; each is called once, with its arguments replaced.

        Args:
            fn: gives what stands for a node from then on.

        Returns:
            what it gave for this node.
        """
        return self._apply(fn, {})

    def _apply(self, fn: Callable[[DAGNode], Any], done: dict[str, Any]) -> Any:
        if self._stable_uuid not in done:
            replace = lambda node: node._apply(fn, done)  # noqa: E731
            twin = self._copy(
                map_nodes(list(self._bound_args), replace),
                map_nodes(self._bound_kwargs, replace),
                self._bound_options,
                map_nodes(self._bound_other_args_to_resolve, replace),
            )
            done[self._stable_uuid] = fn(twin)
        return done[self._stable_uuid]

    def traverse_and_apply(self, fn: Callable[[DAGNode], Any]) -> None:
        """Apply a function to every node that this one needs or that needs it through it, each once."""
        seen: set[str] = set()
        waiting: list[DAGNode] = [self]
        while waiting:
            node = waiting.pop()
            if node._stable_uuid in seen:
                continue
            seen.add(node._stable_uuid)
            fn(node)
            waiting += node._get_all_child_nodes()

    def apply_functional(
        self, source_input_list: Any, predicate_fn: Callable[[Any], bool], apply_fn: Callable[[Any], Any]
    ) -> Any:
        """`source_input_list` with `apply_fn` applied to everything inside for which `predicate_fn` holds."""
        return map_matching(source_input_list, predicate_fn, apply_fn)

    def _get_all_child_nodes(self) -> list[DAGNode]:
        """The nodes among the arguments."""
        found: list[DAGNode] = []

        def note(node: DAGNode) -> DAGNode:
            if node not in found:
                found.append(node)
            return node

        map_nodes([self._bound_args, self._bound_kwargs, self._bound_other_args_to_resolve], note)
        return found

    def __getattr__(self, attr: str) -> Any:
        if attr in ("remote", "bind"):
            raise AttributeError(
                f".{attr}() cannot be used on {type(self)}. To execute the task graph for this node, use .execute()."
            )
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {attr!r}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DAGNode) and self._stable_uuid == other._stable_uuid

    def __hash__(self) -> int:
        return hash(self._stable_uuid)

    def __str__(self) -> str:
        return get_dag_node_str(self, self._body_text())

    def _body_text(self) -> str:
        return f"__{type(self).__name__}__"


class _Execution:
    """One run of a graph: its input and the results so far."""

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any], results: dict[str, Any]) -> None:
        self.args = args
        self.kwargs = kwargs
        self.results = results

    def resolve(self, value: Any) -> Any:
        """A value with every node in it replaced by its result."""
        return map_nodes(value, lambda node: node._run(self))


def map_nodes(value: Any, replace: Callable[[DAGNode], Any]) -> Any:
    """A value with every node inside replaced; containers are copied only where something changes in them."""
    return map_matching(value, lambda each: isinstance(each, DAGNode), replace)


def map_matching(value: Any, predicate: Callable[[Any], bool], replace: Callable[[Any], Any]) -> Any:
    """A value with everything inside for which `predicate` holds replaced: looks into lists, tuples, dicts and sets."""
    if predicate(value):
        return replace(value)
    if isinstance(value, dict):
        changed = {key: map_matching(item, predicate, replace) for key, item in value.items()}
        return changed if type(value) is dict else type(value)(changed)
    if isinstance(value, (list, set)):
        return type(value)(map_matching(item, predicate, replace) for item in value)
    if isinstance(value, tuple):
        items = [map_matching(item, predicate, replace) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    return value
