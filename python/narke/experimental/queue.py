"""The queue's earlier home; see `narke.util.queue`."""

from narke.util.queue import Empty, Full, Queue

__all__ = ["Empty", "Full", "Queue"]
