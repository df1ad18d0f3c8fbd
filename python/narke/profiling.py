"""Measuring pieces of user code for the timeline."""

from narke._private.task_events import profile

__all__ = ["profile"]
