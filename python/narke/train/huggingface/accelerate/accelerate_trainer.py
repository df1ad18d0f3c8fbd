"""The trainer for Hugging Face Accelerate."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

from narke.train.data_parallel_trainer import _bound, framework_arguments
from narke.train.torch.config import TorchConfig
from narke.train.torch.torch_trainer import TorchTrainer

__all__ = ["AccelerateTrainer"]

# Entries of Accelerate's configuration files, and the environment variables that its Accelerator reads.
_VARIABLES = {
    "mixed_precision": "ACCELERATE_MIXED_PRECISION",
    "use_cpu": "ACCELERATE_USE_CPU",
    "gradient_accumulation_steps": "ACCELERATE_GRADIENT_ACCUMULATION_STEPS",
    "debug": "ACCELERATE_DEBUG_MODE",
}


class AccelerateTrainer(TorchTrainer):
    """Runs a training function that uses accelerate.Accelerator on each of several workers.

    Args:
        train_loop_per_worker: the function.
        accelerate_config: a dict as in Accelerate's configuration files, or the path of such a file. Of it count
            mixed_precision, use_cpu, gradient_accumulation_steps, debug, fsdp_config and deepspeed_config; ranks and
            addresses are the workers'.
        train_loop_config, torch_config, scaling_config, dataset_config, run_config, datasets, metadata, preprocessor,
            resume_from_checkpoint: see `TorchTrainer`.

    Raises:
        TypeError: `accelerate_config` is neither.
    """

    def __init__(
        self,
        train_loop_per_worker: Callable[[], Any] | Callable[[dict], Any],
        *,
        train_loop_config: dict[str, Any] | None = None,
        accelerate_config: dict[str, Any] | str | os.PathLike | None = None,
        torch_config: TorchConfig | None = None,
        scaling_config: Any = None,
        dataset_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        preprocessor: Any = None,
        resume_from_checkpoint: Any = None,
    ) -> None:
        arguments = framework_arguments(locals())
        self.accelerate_config = arguments.pop("accelerate_config")
        super().__init__(**arguments)
        self._variables = variables_of(_loaded(accelerate_config))

    def _function(self) -> Callable[[], Any]:
        return functools.partial(
            _with_variables, self._variables, _bound(self.train_loop_per_worker, self.train_loop_config)
        )


def _with_variables(variables: dict[str, str], function: Callable[[], Any]) -> Any:
    os.environ.update(variables)
    return function()


def _loaded(config: Any) -> dict[str, Any]:
    if config is None or isinstance(config, dict):
        return config or {}
    if isinstance(config, (str, os.PathLike)):
        import yaml

        with open(config) as file:
            return yaml.safe_load(file) or {}
    raise TypeError(f"accelerate_config is a dict or the path of a file, not {type(config).__name__}")


def variables_of(config: dict[str, Any]) -> dict[str, str]:
    """The environment variables that tell Accelerator a configuration; pure.

    Args:
        config: as in Accelerate's configuration files.
    """
    found = {
        variable: str(config[name]).lower()
        for name, variable in _VARIABLES.items()
        if config.get(name) is not None
    }
    for group, prefix in (("fsdp_config", "FSDP"), ("deepspeed_config", "ACCELERATE_DEEPSPEED")):
        entries = config.get(group) or {}
        if entries:
            found[f"ACCELERATE_USE_{'FSDP' if prefix == 'FSDP' else 'DEEPSPEED'}"] = "true"
        for name, value in entries.items():
            short = name.removeprefix("fsdp_").removeprefix("deepspeed_").upper()
            found[f"{prefix}_{short}"] = str(value).lower() if isinstance(value, bool) else str(value)
    return found
