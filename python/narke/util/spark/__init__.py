"""Clusters inside of Spark applications: not available, and every entry says what to do instead."""

from narke.util.spark.cluster_init import (
    MAX_NUM_WORKER_NODES,
    setup_global_ray_cluster,
    setup_ray_cluster,
    shutdown_ray_cluster,
)

__all__ = [
    "MAX_NUM_WORKER_NODES",
    "setup_global_ray_cluster",
    "setup_ray_cluster",
    "shutdown_ray_cluster",
]
