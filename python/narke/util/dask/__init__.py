"""Run Dask's graphs on the cluster: ``with enable_dask_on_ray(): collection.compute()``."""

try:
    import dask  # noqa: F401
except ImportError as error:
    text = "narke.util.dask needs Dask 2024.12 or later: install it with `pip install dask`"
    raise ImportError(text, name=error.name) from error

from narke.util.dask.callbacks import (
    ProgressBarCallback,
    RayDaskCallback,
    local_ray_callbacks,
    unpack_ray_callbacks,
)
from narke.util.dask.optimizations import dataframe_optimize
from narke.util.dask.scheduler import (
    disable_dask_on_ray,
    enable_dask_on_ray,
    patch_dask,
    ray_dask_get,
    ray_dask_get_sync,
    ray_dask_persist,
    ray_dask_persist_mixin,
)

__all__ = [
    "ProgressBarCallback",
    "RayDaskCallback",
    "dataframe_optimize",
    "disable_dask_on_ray",
    "enable_dask_on_ray",
    "local_ray_callbacks",
    "patch_dask",
    "ray_dask_get",
    "ray_dask_get_sync",
    "ray_dask_persist",
    "ray_dask_persist_mixin",
    "unpack_ray_callbacks",
]
