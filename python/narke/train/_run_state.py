"""What a run is and what became of its attempts, in the fields of Ray's TrainRun and TrainRunAttempt."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narke.train._worker_group import Worker, WorkerGroup

__all__ = ["Attempts", "framework_versions", "settings"]

_KEPT = 20  # attempts, the latest
_FRAMEWORKS = ("torch", "lightning", "transformers", "tensorflow", "jax", "xgboost", "lightgbm")


def _plain(value: Any) -> Any:
    """The value as JSON has it; what has no form there is told as text."""
    return json.loads(json.dumps(value, default=str))


def framework_versions() -> dict[str, str]:
    """Versions of Narke, and of the frameworks that this program has imported."""
    import narke

    loaded = ((name, sys.modules.get(name)) for name in _FRAMEWORKS)
    return {
        "ray": narke.__version__,
        **{name: str(getattr(module, "__version__", "?")) for name, module in loaded if module},
    }


def settings(trainer: Any, bundle: dict[str, float], least: int, most: int) -> dict[str, Any]:
    """How a trainer was set up.

    Args:
        trainer: a `BaseTrainer`.
        bundle: what a worker holds.
        least, most: numbers of workers.
    """
    run, scaling, backend = trainer.run_config, trainer.scaling_config, trainer.backend_config
    failure, checkpoints = run.failure_config, run.checkpoint_config
    environment = getattr(run, "worker_runtime_env", None) or {}
    return _plain(
        {
            "train_loop_config": getattr(trainer, "train_loop_config", None),
            "backend_config": {"framework": backend.framework, "config": backend.to_dict()},
            "scaling_config": {
                "num_workers": most if least == most else [least, most],
                "use_gpu": bool(scaling.use_gpu),
                "resources_per_worker": bundle,
                "placement_strategy": scaling.placement_strategy,
                "accelerator_type": scaling.accelerator_type,
                "use_tpu": bool(getattr(scaling, "use_tpu", False)),
                "topology": getattr(scaling, "topology", None),
                "bundle_label_selector": getattr(scaling, "label_selector", None),
            },
            "datasets": list(trainer.datasets or {}),
            "data_config": _data_settings(trainer.data_config),
            "run_config": {
                "name": run.name or "",
                "failure_config": {
                    "max_failures": failure.max_failures if failure else 0,
                    "controller_failure_limit": getattr(failure, "controller_failure_limit", -1),
                },
                "worker_runtime_env": {
                    key: value for key, value in dict(environment).items() if key != "env_vars"
                },
                "checkpoint_config": {
                    "num_to_keep": checkpoints.num_to_keep if checkpoints else None,
                    "checkpoint_score_attribute": checkpoints.checkpoint_score_attribute
                    if checkpoints
                    else None,
                    "checkpoint_score_order": checkpoints.checkpoint_score_order if checkpoints else "max",
                },
                "storage_path": str(run.storage_path or ""),
                "storage_filesystem": str(run.storage_filesystem) if run.storage_filesystem else None,
            },
        }
    )


def _data_settings(config: Any) -> dict[str, Any]:
    """Of a `DataConfig`; of what is no such thing only what every config has."""
    options = getattr(config, "_execution_options", None)
    by_name = options if isinstance(options, dict) else {}
    return {
        "datasets_to_split": getattr(config, "_datasets_to_split", "all"),
        "enable_shard_locality": bool(getattr(config, "_enable_shard_locality", True)),
        "execution_options": None,
        "data_execution_options": {
            "default": _execution_settings(None if by_name else options),
            "per_dataset_execution_options": {
                name: _execution_settings(each) for name, each in by_name.items()
            },
        },
    }


def _execution_settings(options: Any) -> dict[str, Any]:
    """Of `ExecutionOptions`; None are those that a run has unless it is told otherwise."""
    return {
        "resource_limits": _amounts(getattr(options, "resource_limits", None)),
        "exclude_resources": _amounts(getattr(options, "exclude_resources", None)),
        "preserve_order": bool(getattr(options, "preserve_order", False)),
        "actor_locality_enabled": bool(getattr(options, "actor_locality_enabled", True)),
        "verbose_progress": getattr(options, "verbose_progress", None) is not False,
    }


def _amounts(resources: Any) -> dict[str, Any]:
    known = (
        (name, getattr(resources, name, None)) for name in ("cpu", "gpu", "object_store_memory", "memory")
    )
    return {name: amount for name, amount in known if amount is not None and amount != float("inf")}


class Attempts:
    """The latest attempts of a run, as JSON has them.

    Args:
        run_id: of the run.
    """

    def __init__(self, run_id: str) -> None:
        self._run_id, self._count = run_id, 0
        self.rows: list[dict[str, Any]] = []

    def begin(self, group: WorkerGroup) -> None:
        """These workers train."""
        row = {
            "run_id": self._run_id,
            "attempt_id": f"{self._run_id}-{self._count}",
            "status": "RUNNING",
            "status_detail": None,
            "start_time_ns": time.time_ns(),
            "end_time_ns": None,
            "resources": [{"resources": dict(worker.info.resources)} for worker in group],
            "workers": [_worker(rank, worker) for rank, worker in enumerate(group)],
        }
        self._count += 1
        self.rows = [*self.rows, row][-_KEPT:]

    def end(self, status: str, detail: str | None = None) -> None:
        """The attempt that was begun last is over; again does nothing.

        Args:
            status: FINISHED, ERRORED or ABORTED.
            detail: why.
        """
        if self.rows and self.rows[-1]["end_time_ns"] is None:
            self.rows[-1].update(status=status, status_detail=detail, end_time_ns=time.time_ns())
            for worker in self.rows[-1]["workers"]:
                worker["status"] = "DEAD"


def _worker(rank: int, worker: Worker) -> dict[str, Any]:
    info = worker.info
    return {
        "world_rank": rank,
        "local_rank": worker.place.local_rank,
        "node_rank": worker.place.node_rank,
        "actor_id": worker.actor._actor_id.hex(),
        "node_id": info.node_id,
        "node_ip": info.node_ip,
        "pid": info.pid,
        "gpu_ids": [int(each) if str(each).isdigit() else str(each) for each in info.gpu_ids],
        "status": "ALIVE",
        "resources": {"resources": dict(info.resources)},
        "log_file_path": None,
    }
