"""The entries for clusters inside of Spark applications.

Spark starts Python workers of its own and bounds their memory and lifetime; nodes started inside of them
would be killed with a stage. So these entries refuse, and say how to run beside Spark.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, NoReturn

__all__ = [
    "MAX_NUM_WORKER_NODES",
    "AutoscalingCluster",
    "RayClusterOnSpark",
    "setup_global_ray_cluster",
    "setup_ray_cluster",
    "shutdown_ray_cluster",
]

MAX_NUM_WORKER_NODES = -1
RAY_ON_SPARK_START_HOOK = "RAY_ON_SPARK_START_HOOK"
RAY_ON_SPARK_COLLECT_LOG_TO_PATH = "RAY_ON_SPARK_COLLECT_LOG_TO_PATH"
RAY_ON_SPARK_START_RAY_PARENT_PID = "RAY_ON_SPARK_START_RAY_PARENT_PID"
RAY_ENABLE_AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"


def _refuse(entry: str) -> NoReturn:
    raise NotImplementedError(
        f"{entry} is not available: nodes do not run inside of Spark executors. Start a cluster beside "
        "Spark with "
        "`narke start --head` (and `narke start --address=...` on the other hosts), connect with "
        "narke.init(address=...), and exchange data through Parquet files or narke.data.from_spark."
    )


def setup_ray_cluster(
    *,
    max_worker_nodes: int,
    min_worker_nodes: int | None = None,
    num_cpus_worker_node: int | None = None,
    num_cpus_head_node: int | None = None,
    num_gpus_worker_node: int | None = None,
    num_gpus_head_node: int | None = None,
    memory_worker_node: int | None = None,
    memory_head_node: int | None = None,
    object_store_memory_worker_node: int | None = None,
    object_store_memory_head_node: int | None = None,
    head_node_options: dict[str, Any] | None = None,
    worker_node_options: dict[str, Any] | None = None,
    ray_temp_root_dir: str | None = None,
    strict_mode: bool = False,
    collect_log_to_path: str | None = None,
    autoscale_upscaling_speed: float | None = 1.0,
    autoscale_idle_timeout_minutes: float | None = 1.0,
    **kwargs: Any,
) -> NoReturn:
    """Raise NotImplementedError with what to do instead."""
    _refuse("setup_ray_cluster")


def setup_global_ray_cluster(
    *,
    max_worker_nodes: int,
    is_blocking: bool = True,
    min_worker_nodes: int | None = None,
    num_cpus_worker_node: int | None = None,
    num_cpus_head_node: int | None = None,
    num_gpus_worker_node: int | None = None,
    num_gpus_head_node: int | None = None,
    memory_worker_node: int | None = None,
    memory_head_node: int | None = None,
    object_store_memory_worker_node: int | None = None,
    object_store_memory_head_node: int | None = None,
    head_node_options: dict[str, Any] | None = None,
    worker_node_options: dict[str, Any] | None = None,
    strict_mode: bool = False,
    collect_log_to_path: str | None = None,
    autoscale_upscaling_speed: float | None = 1.0,
    autoscale_idle_timeout_minutes: float | None = 1.0,
) -> NoReturn:
    """Raise NotImplementedError with what to do instead."""
    _refuse("setup_global_ray_cluster")


def shutdown_ray_cluster() -> NoReturn:
    """Raise RuntimeError: no cluster can have been started by `setup_ray_cluster`."""
    raise RuntimeError(
        "no cluster was started by setup_ray_cluster, which is not available; use narke.shutdown()"
    )


class AutoscalingCluster:
    """Refuses: see `setup_ray_cluster`."""

    def __init__(
        self,
        head_resources: dict[str, Any],
        worker_node_types: dict[str, Any],
        extra_provider_config: dict[str, Any],
        upscaling_speed: float,
        idle_timeout_minutes: float,
    ) -> None:
        _refuse("AutoscalingCluster")

    def start(
        self,
        ray_head_ip: str,
        ray_head_port: int,
        ray_client_server_port: int,
        ray_temp_dir: str,
        dashboard_options: list[str],
        head_node_options: dict[str, Any],
        collect_log_to_path: str | None,
        ray_node_custom_env: dict[str, str],
    ) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse("AutoscalingCluster.start")


class RayClusterOnSpark:
    """Refuses: see `setup_ray_cluster`."""

    def __init__(
        self,
        address: str,
        head_proc: Any,
        min_worker_nodes: int,
        max_worker_nodes: int,
        temp_dir: str,
        cluster_unique_id: str,
        start_hook: Any,
        ray_dashboard_port: int,
        spark_job_server: Any,
        global_cluster_lock_fd: Any,
        ray_client_server_port: int,
    ) -> None:
        _refuse("RayClusterOnSpark")

    def wait_until_ready(self) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse("RayClusterOnSpark.wait_until_ready")

    def connect(self) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse("RayClusterOnSpark.connect")

    def disconnect(self) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse("RayClusterOnSpark.disconnect")

    def shutdown(self) -> NoReturn:
        """Raise NotImplementedError."""
        _refuse("RayClusterOnSpark.shutdown")

    def __enter__(self) -> RayClusterOnSpark:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.shutdown()
