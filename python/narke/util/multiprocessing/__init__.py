"""The standard library's ``multiprocessing.Pool`` over the cluster's actors."""

from multiprocessing import JoinableQueue, TimeoutError

from narke.util.multiprocessing.pool import Pool

__all__ = ["JoinableQueue", "Pool", "TimeoutError"]
