"""Draws graphs with Graphviz."""

from __future__ import annotations

import os
from typing import Any

from narke.dag.dag_node import DAGNode

__all__ = ["plot"]


def plot(dag: DAGNode, to_file: str | None = None) -> Any:
    """Draw a graph.

    Args:
        dag: its last node.
        to_file: where to write the picture, in the format its name ends with; a temporary PNG by default.

    Returns:
        the picture for a notebook when IPython is there, else None.

    Raises:
        ImportError: pydot is not installed.
    """
    graph = _graph(dag)
    path = to_file or os.path.join(_temporary_dir(), "dag.png")
    suffix = os.path.splitext(path)[1].lstrip(".") or "png"
    graph.write(path, format=suffix)
    try:
        from IPython import display
    except ImportError:
        return None
    return display.Image(filename=path) if suffix == "png" else None


def _temporary_dir() -> str:
    import tempfile

    return tempfile.mkdtemp(prefix="narke-dag-")


def _graph(dag: DAGNode) -> Any:
    try:
        import pydot
    except ImportError as error:
        raise ImportError(
            "Drawing graphs needs pydot and Graphviz: pip install pydot, and install graphviz"
        ) from error
    graph = pydot.Dot(rankdir="LR")

    def draw(node: DAGNode) -> None:
        graph.add_node(pydot.Node(node.get_stable_uuid(), label=type(node).__name__.removesuffix("Node")))
        for child in node._get_all_child_nodes():
            graph.add_edge(pydot.Edge(child.get_stable_uuid(), node.get_stable_uuid()))

    dag.traverse_and_apply(draw)
    return graph
