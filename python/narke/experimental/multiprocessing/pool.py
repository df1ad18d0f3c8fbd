"""The pool's earlier home; see `narke.util.multiprocessing.pool`."""

from narke.util.multiprocessing.pool import Pool

__all__ = ["Pool"]
