"""What training functions with a Lightning Trainer use."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from narke.train import _session
from narke.train._checkpoint import Checkpoint
from narke.train.context import get_context
from narke.train.lightning._import import (
    DDPStrategy,
    DeepSpeedStrategy,
    FSDPStrategy,
    LightningEnvironment,
    pl,
)
from narke.train.torch.train_loop_utils import get_device
from narke.train.v2.api.report_config import CheckpointUploadMode

if TYPE_CHECKING:
    import torch

__all__ = [
    "RayDDPStrategy",
    "RayDeepSpeedStrategy",
    "RayFSDPStrategy",
    "RayLightningEnvironment",
    "RayTrainReportCallback",
    "prepare_trainer",
]


class _OnWorkers:
    """What the strategies share: the worker's device, its rank."""

    @property
    def root_device(self) -> torch.device:
        """This worker's device."""
        return get_device()

    @property
    def distributed_sampler_kwargs(self) -> dict[str, Any]:
        """The world's size and this worker's rank, for samplers."""
        context = get_context()
        return {"num_replicas": context.get_world_size(), "rank": context.get_world_rank()}


class RayDDPStrategy(_OnWorkers, DDPStrategy):
    """Lightning's DDP in the process group of the workers."""


class RayFSDPStrategy(_OnWorkers, FSDPStrategy):
    """Lightning's FSDP in the process group of the workers."""

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The whole state of the module, on rank 0; empty on others."""
        from torch.distributed.fsdp import FullStateDictConfig, FullyShardedDataParallel, StateDictType

        assert self.model is not None
        if not isinstance(self.model, FullyShardedDataParallel):
            return super().lightning_module_state_dict()
        config = FullStateDictConfig(offload_to_cpu=True, rank0_only=True)
        with FullyShardedDataParallel.state_dict_type(self.model, StateDictType.FULL_STATE_DICT, config):
            state = self.model.state_dict()
        prefix = "_forward_module."
        return {name.removeprefix(prefix): value for name, value in state.items()}


class RayDeepSpeedStrategy(_OnWorkers, DeepSpeedStrategy):
    """Lightning's DeepSpeed in the process group of the workers."""


class RayLightningEnvironment(LightningEnvironment):
    """Tells Lightning the ranks of the workers."""

    @property
    def creates_processes_externally(self) -> bool:
        """The workers are there already."""
        return True

    def world_size(self) -> int:
        """The number of workers."""
        return get_context().get_world_size()

    def global_rank(self) -> int:
        """This worker's rank."""
        return get_context().get_world_rank()

    def local_rank(self) -> int:
        """This worker's rank on its node."""
        return get_context().get_local_rank()

    def node_rank(self) -> int:
        """The rank of this worker's node."""
        return get_context().get_node_rank()

    def set_world_size(self, size: int) -> None:
        """Nothing is set: the workers' number is the run's."""

    def set_global_rank(self, rank: int) -> None:
        """Nothing is set: ranks are the run's."""
        from lightning_utilities.core.rank_zero import rank_zero_only

        rank_zero_only.rank = get_context().get_world_rank()  # type: ignore[attr-defined]

    def teardown(self) -> None:
        """Nothing is left to take down."""


def prepare_trainer(trainer: Any) -> Any:
    """Check that a Trainer is made for workers.

    Args:
        trainer: with a strategy and the environment of this module.

    Returns:
        the same trainer.

    Raises:
        RuntimeError: it has others.
    """
    if not isinstance(trainer.strategy, (_OnWorkers,)):
        raise RuntimeError(
            f"the Trainer's strategy is a {type(trainer.strategy).__name__}; use strategy=RayDDPStrategy(), "
            "RayFSDPStrategy() or RayDeepSpeedStrategy()"
        )
    environment = getattr(trainer.strategy, "cluster_environment", None)
    if environment is not None and not isinstance(environment, RayLightningEnvironment):
        raise RuntimeError(
            f"the Trainer's environment is a {type(environment).__name__}; pass plugins=[RayLightningEnvironment()]"
        )
    return trainer


class RayTrainReportCallback(pl.callbacks.Callback):
    """Reports the logged metrics and a checkpoint of each epoch.

    Args:
        checkpoint_upload_mode: see `narke.train.report`.
        validation: see `narke.train.report`.
    """

    CHECKPOINT_NAME = "checkpoint.ckpt"

    def __init__(
        self, checkpoint_upload_mode: CheckpointUploadMode | None = None, validation: Any = False
    ) -> None:
        super().__init__()
        context = get_context()
        self.trial_name = context.get_trial_name()
        self.local_rank = context.get_local_rank()
        self.checkpoint_upload_mode = checkpoint_upload_mode or CheckpointUploadMode.SYNC
        self.validation = validation
        # one folder for the ranks of a node: Lightning's strategies may save sharded files into it
        name = f"lightning_checkpoints-{context.get_trial_id()}".replace(os.sep, "_")
        self.tmpdir_prefix = Path(tempfile.gettempdir(), name).as_posix()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        """An epoch is done."""
        folder = Path(self.tmpdir_prefix, f"{trainer.current_epoch}").as_posix()
        os.makedirs(folder, exist_ok=True)
        metrics = {name: value.item() for name, value in trainer.callback_metrics.items()}
        metrics |= {"epoch": trainer.current_epoch, "step": trainer.global_step}
        trainer.save_checkpoint(Path(folder, self.CHECKPOINT_NAME).as_posix(), weights_only=False)
        trainer.strategy.barrier()
        first = self.local_rank == 0
        session: Any = _session.require("RayTrainReportCallback")
        session.report(
            metrics,
            checkpoint=Checkpoint.from_directory(folder) if first else None,
            checkpoint_upload_mode=self.checkpoint_upload_mode,
            validation=self.validation,
        )
        trainer.strategy.barrier()
        if first and self.checkpoint_upload_mode is CheckpointUploadMode.SYNC:
            shutil.rmtree(folder, ignore_errors=True)
