"""Settings of tables in other systems: how often and how long reads, writes and commits are tried again."""

from __future__ import annotations

import dataclasses

COMMIT_ERRORS = (
    "429", "503", "502", "500", "Too Many Requests", "Service Unavailable", "Internal Server Error",
    "Connection reset", "Connection refused", "Connection timed out", "Read timed out", "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
)  # fmt: skip
LANCE_ERRORS = ("LanceError(IO)",)


@dataclasses.dataclass
class AutoscalingConfig:
    """When pools of actors grow and shrink.

    A pool's use is the blocks that its actors work on, or that wait for it, per block that its actors are to work on at
    once.

    Args:
        actor_pool_util_upscaling_threshold: use from which it grows.
        actor_pool_util_downscaling_threshold: use below which it shrinks.
        actor_pool_max_upscaling_delta: most actors that are added at once; None for one.
    """

    actor_pool_util_upscaling_threshold: float = 1.75
    actor_pool_util_downscaling_threshold: float = 0.5
    actor_pool_max_upscaling_delta: int | None = None


@dataclasses.dataclass
class LanceConfig:
    """Of Lance: texts of errors after which fragments are read or written again, attempts, longest waits in seconds."""

    read_fragments_errors_to_retry: list[str] = dataclasses.field(default_factory=lambda: list(LANCE_ERRORS))
    read_fragments_max_attempts: int = 10
    read_fragments_retry_max_backoff_s: int = 32
    write_fragments_errors_to_retry: list[str] = dataclasses.field(default_factory=lambda: list(LANCE_ERRORS))
    write_fragments_max_attempts: int = 10
    write_fragments_retry_max_backoff_s: int = 32


@dataclasses.dataclass
class IcebergConfig:
    """Of Iceberg: attempts at files and at the catalog, longest waits in seconds, errors worth another.

    Args:
        read_file_tasks_sequentially: files of one read task come one after another, as they always do here.
    """

    write_file_max_attempts: int = 10
    write_file_retry_max_backoff_s: int = 32
    catalog_max_attempts: int = 5
    catalog_retry_max_backoff_s: int = 16
    catalog_retried_errors: list[str] = dataclasses.field(default_factory=lambda: list(COMMIT_ERRORS))
    read_file_tasks_sequentially: bool = True


@dataclasses.dataclass
class DeltaConfig:
    """Of Delta Lake: attempts at commits, the longest wait in seconds, texts of errors worth another attempt.

    Args:
        credential_refresh_enabled: credentials are taken anew for each attempt, as they always are here.
    """

    commit_max_attempts: int = 5
    commit_retry_max_backoff_s: int = 16
    commit_retried_errors: list[str] = dataclasses.field(default_factory=lambda: list(COMMIT_ERRORS))
    credential_refresh_enabled: bool = True
