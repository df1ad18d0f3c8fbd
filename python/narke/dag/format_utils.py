"""Nodes as indented text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narke.dag.dag_node import DAGNode

__all__ = ["get_dag_node_str"]

_INDENT = "    "


def get_dag_node_str(dag_node: DAGNode, body_line: Any) -> str:
    """A node with everything below it.

    Args:
        dag_node: the node.
        body_line: what it calls.
    """
    fields = {
        "body": str(body_line),
        "args": _sequence(dag_node.get_args()),
        "kwargs": _mapping(dag_node.get_kwargs()),
        "options": _mapping(dag_node.get_options()),
        "other_args_to_resolve": _mapping(dag_node.get_other_args_to_resolve()),
    }
    lines = [_shift(f"{name}={text}") for name, text in fields.items()]
    return f"({type(dag_node).__name__}, {dag_node.get_stable_uuid()})(\n" + "\n".join(lines) + "\n)"


def _shift(text: str) -> str:
    return "\n".join(_INDENT + line for line in text.splitlines())


def _sequence(values: Any) -> str:
    if not values:
        return "[]"
    return "[\n" + "\n".join(_shift(f"{value}, ") for value in values) + "\n]"


def _mapping(values: dict[Any, Any]) -> str:
    if not values:
        return "{}"
    return "{\n" + "\n".join(_shift(f"{key}: {value}") for key, value in values.items()) + "\n}"
