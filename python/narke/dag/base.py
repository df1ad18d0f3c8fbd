"""`DAGNodeBase`: what every node of a graph is."""

__all__ = ["DAGNodeBase"]


class DAGNodeBase:
    """Marks nodes, for modules that only need to know one when they see it."""
