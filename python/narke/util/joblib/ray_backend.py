"""The backend that joblib calls."""

from __future__ import annotations

import os
from typing import Any

from joblib import Parallel
from joblib._parallel_backends import (
    FallbackToBackend,
    MultiprocessingBackend,
    PoolManagerMixin,
    SequentialBackend,
)

import narke
from narke.util.multiprocessing.pool import Pool

__all__ = ["RayBackend"]

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class RayBackend(MultiprocessingBackend):
    """Runs joblib's batches in a pool of actors.

    Args:
        nesting_level: set by joblib.
        inner_max_num_threads: most threads of numerical libraries inside an actor; set by joblib.
        ray_remote_args: options of the actors.
    """

    supports_inner_max_num_threads = True

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(nesting_level=nesting_level, inner_max_num_threads=inner_max_num_threads, **kwargs)
        self.ray_remote_args = ray_remote_args

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Number of actors for joblib's `n_jobs`; negative numbers count back from the cluster's CPUs."""
        if n_jobs is not None and n_jobs < 0:
            _connect()
            cpus = int(narke.cluster_resources().get("CPU", 1))
            n_jobs = max(cpus + 1 + n_jobs, 1)
        # The base class forbids nesting below threads and processes, which actors allow.
        return PoolManagerMixin.effective_n_jobs(self, n_jobs)

    def configure(
        self,
        n_jobs: int | None = 1,
        parallel: Parallel | None = None,
        prefer: str | None = None,
        require: str | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        **memmappingpool_args: Any,
    ) -> int:
        """Start the pool; returns the number of its actors.

        Args:
            n_jobs: as joblib takes it.
            parallel: the loop that runs.
            prefer: joblib's hint; has no effect.
            require: joblib's constraint; ``"sharedmem"`` never reaches this backend.
            ray_remote_args: options of the actors; None for those given to the backend.
            **memmappingpool_args: joblib's arguments for its own pools; have no effect.
        """
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        _connect()
        self._pool = Pool(
            processes=n_jobs,
            initializer=_set_threads,
            initargs=(self.inner_max_num_threads,),
            ray_remote_args=ray_remote_args or self.ray_remote_args,
        )
        self.parallel = parallel
        return n_jobs


def _connect() -> None:
    if not narke.is_initialized():
        narke.init()


def _set_threads(limit: int | None) -> None:
    """Bound the threads of numerical libraries in this actor, those loaded already and those to come."""
    if limit is None:
        return
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(limit)))
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        return  # joblib itself goes without it; the variables reach libraries that are loaded later
    threadpool_limits(limits=limit)
