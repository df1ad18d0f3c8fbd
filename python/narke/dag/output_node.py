"""`MultiOutputNode`: several results of one graph."""

from __future__ import annotations

from typing import Any

from narke.dag.dag_node import DAGNode

__all__ = ["MultiOutputNode"]


class MultiOutputNode(DAGNode):
    """Ends a graph in several nodes; ``execute()`` gives the list of their results.

    Args:
        args: the nodes.
        other_args_to_resolve: see `DAGNode`.
    """

    def __init__(self, args: Any, other_args_to_resolve: dict[str, Any] | None = None) -> None:
        nodes = tuple(args) if isinstance(args, (list, tuple)) else (args,)
        super().__init__(nodes, {}, {}, other_args_to_resolve)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: Any) -> Any:
        return list(args)
