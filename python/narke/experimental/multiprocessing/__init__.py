"""The pool's earlier home; see `narke.util.multiprocessing`."""

from narke.experimental.multiprocessing.pool import Pool
from narke.util.multiprocessing import TimeoutError

__all__ = ["Pool", "TimeoutError"]
