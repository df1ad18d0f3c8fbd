"""The input of graphs of former releases."""

from narke.dag import InputNode

__all__ = ["InputNode"]
