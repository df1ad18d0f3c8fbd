"""Settings of Ray's own executor that have no counterpart here, by name and with Ray 2.60's defaults.

Programs read and set them; nothing here goes by them.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any


class ShuffleStrategy(str, enum.Enum):
    """How Ray shuffles; here there is one way."""

    SORT_SHUFFLE_PULL_BASED = "sort_shuffle_pull_based"
    SORT_SHUFFLE_PUSH_BASED = "sort_shuffle_push_based"
    HASH_SHUFFLE = "hash_shuffle"
    GPU_SHUFFLE = "gpu_shuffle"
    SHUFFLE_V2 = "shuffle_v2"


@dataclasses.dataclass
class RaySettings:
    """See the module."""

    streaming_read_buffer_size: int = 32 * 1024 * 1024
    enable_pandas_block: bool = True
    actor_prefetcher_enabled: bool = False
    use_push_based_shuffle: bool = False
    shuffle_strategy: ShuffleStrategy = ShuffleStrategy.SHUFFLE_V2
    pipeline_push_based_shuffle_reduce_tasks: bool = True
    shuffle_compression: str | None = "zstd"
    hash_shuffle_reduce_batch_size: int = 16
    hash_shuffle_reduce_get_timeout_s: float = 1800.0
    shuffle_input_batch_bytes: int = 1024**3
    max_hash_shuffle_aggregators: int | None = None
    min_hash_shuffle_aggregator_wait_time_in_s: int = 300
    hash_shuffle_aggregator_health_warning_interval_s: int = 30
    max_hash_shuffle_finalization_batch_size: int | None = None
    join_operator_actor_num_cpus_override: float | None = None
    hash_shuffle_operator_actor_num_cpus_override: float | None = None
    hash_aggregate_operator_actor_num_cpus_override: float | None = None
    use_disk_based_hash_shuffle: bool = False
    gpu_shuffle_num_actors: int | None = None
    gpu_shuffle_rmm_pool_size: Any = None
    gpu_shuffle_spill_memory_limit: Any = "auto"
    gpu_shuffle_setup_timeout_s: float = 120.0
    scheduling_strategy: Any = "SPREAD"
    scheduling_strategy_large_args: Any = "DEFAULT"
    large_args_threshold: int = 50 * 1024 * 1024
    use_polars: bool = False
    use_polars_sort: bool = False
    use_legacy_dataset_ids: bool = False
    decoding_size_estimation: bool = True
    min_parallelism: int = 200
    use_datasource_v2: bool = True
    enable_tensor_extension_casting: bool = True
    arrow_fixed_shape_tensor_format: Any = None
    use_arrow_tensor_v2: bool = True
    enable_fallback_to_arrow_object_ext_type: bool | None = None
    verbose_stats_logs: bool = False
    accurate_map_phase_timing: bool = False
    per_stage_map_timing: bool = False
    trace_allocations: bool = False
    use_ray_tqdm: bool = True
    enable_operator_progress_bars: bool = True
    enable_progress_bar_name_truncation: bool = True
    enable_rich_progress_bars: bool = False
    enable_get_object_locations_for_metrics: bool = False
    warn_on_driver_memory_usage_bytes: int = 2 * 1024**3
    max_consecutive_actor_init_deaths: int = 0
    op_resource_reservation_enabled: bool = True
    op_resource_reservation_ratio: float = 0.5
    output_backpressure_guard_release_interval_s: float | None = None
    log_internal_stack_trace: bool = False
    enable_per_node_metrics: bool = False
    enable_stats_summary_collection: bool = False
    memory_usage_poll_interval_s: float | None = 1
    issue_detectors_config: Any = None
    isolate_read_workers: bool = False
    downstream_capacity_backpressure_ratio: float | None = 2.0
    enable_dynamic_output_queue_size_backpressure: bool = False
    enable_lineage_reconstruction_resource_accounting: bool = True
    enforce_schemas: bool = False
    pandas_block_ignore_metadata: bool = False
    enable_arrow_backed_pandas_conversion: bool = True
    batch_to_block_arrow_format: bool = True
    default_map_logical_memory_enabled: bool = False
    object_store_reservation_overshoot_ratio: float | None = None
    object_store_memory_pressure_fraction: float | None = None
