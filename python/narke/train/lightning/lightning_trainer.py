"""The trainer for PyTorch Lightning, of the AIR time: module and Trainer are described, not made."""

from __future__ import annotations

import functools
from typing import Any

from narke.train.data_parallel_trainer import framework_arguments
from narke.train.torch.config import TorchConfig
from narke.train.torch.torch_trainer import TorchTrainer

__all__ = ["LightningConfigBuilder", "LightningTrainer"]


class LightningConfigBuilder:
    """Collects what workers make the module and the Trainer of."""

    def __init__(self) -> None:
        self._module_class: Any = None
        self._module: dict[str, Any] = {}
        self._trainer: dict[str, Any] = {}
        self._fit: dict[str, Any] = {}
        self._strategy: dict[str, Any] = {}
        self._checkpointing: dict[str, Any] = {}

    def module(self, cls: Any = None, **kwargs: Any) -> LightningConfigBuilder:
        """The module: its class and arguments."""
        self._module_class = cls or self._module_class
        self._module.update(kwargs)
        return self

    def trainer(self, **kwargs: Any) -> LightningConfigBuilder:
        """Arguments of the Trainer."""
        self._trainer.update(kwargs)
        return self

    def fit_params(self, **kwargs: Any) -> LightningConfigBuilder:
        """Arguments of the Trainer's fit: train_dataloaders, val_dataloaders, datamodule."""
        if "model" in kwargs:
            raise ValueError("fit_params takes no model: describe it by module()")
        self._fit.update(kwargs)
        return self

    def strategy(self, name: str = "ddp", **kwargs: Any) -> LightningConfigBuilder:
        """The strategy: "ddp", "fsdp" or "deepspeed", and its arguments."""
        if name not in ("ddp", "fsdp", "deepspeed"):
            raise ValueError(f"the strategy is {name!r}; it must be 'ddp', 'fsdp' or 'deepspeed'")
        self._strategy = {"name": name, **kwargs}
        return self

    def ddp_strategy(self, **kwargs: Any) -> LightningConfigBuilder:
        """Arguments of the DDP strategy."""
        return self.strategy("ddp", **kwargs)

    def checkpointing(self, **kwargs: Any) -> LightningConfigBuilder:
        """Arguments of Lightning's ModelCheckpoint; with `monitor` and `mode`, the best is kept."""
        self._checkpointing.update(kwargs)
        return self

    def build(self) -> dict[str, Any]:
        """What was collected, for `LightningTrainer`.

        Raises:
            ValueError: there is no module.
        """
        if self._module_class is None:
            raise ValueError("the configuration has no module: call module(cls=..., ...)")
        return {
            "module_class": self._module_class,
            "module": self._module,
            "trainer": self._trainer,
            "fit": self._fit,
            "strategy": self._strategy,
            "checkpointing": self._checkpointing,
        }


class LightningTrainer(TorchTrainer):
    """Trains a Lightning module on several workers.

    Args:
        lightning_config: of `LightningConfigBuilder.build`.
        datasets: "train" and "val", given to the Trainer as loaders of batches.
        datasets_iter_config: arguments of ``iter_torch_batches`` for them, batch_size at least.
        torch_config, scaling_config, dataset_config, run_config, metadata, preprocessor, resume_from_checkpoint: see
            `TorchTrainer`.
    """

    def __init__(
        self,
        lightning_config: dict[str, Any] | None = None,
        *,
        torch_config: TorchConfig | None = None,
        scaling_config: Any = None,
        dataset_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        datasets_iter_config: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        preprocessor: Any = None,
        resume_from_checkpoint: Any = None,
    ) -> None:
        arguments = framework_arguments(locals())
        self.lightning_config = arguments.pop("lightning_config")
        self.datasets_iter_config = arguments.pop("datasets_iter_config")
        if datasets and not datasets_iter_config:
            raise RuntimeError(
                "LightningTrainer with datasets= needs datasets_iter_config=, with a batch_size at least"
            )
        loop = functools.partial(_train, datasets_iter_config or {})
        super().__init__(loop, train_loop_config=lightning_config, **arguments)


def _train(iteration: dict[str, Any], config: dict[str, Any]) -> None:
    """In a worker: make module and Trainer, and fit."""
    from narke.train import get_checkpoint
    from narke.train.lightning import _utils
    from narke.train.lightning._import import pl
    from narke.train.lightning.lightning_checkpoint import LightningCheckpoint

    strategy = dict(config["strategy"])
    kinds = {
        "ddp": _utils.RayDDPStrategy,
        "fsdp": _utils.RayFSDPStrategy,
        "deepspeed": _utils.RayDeepSpeedStrategy,
    }
    settings = dict(config["trainer"])
    settings["callbacks"] = [*settings.get("callbacks", ()), _utils.RayTrainReportCallback()]
    settings.setdefault("enable_progress_bar", False)
    trainer = pl.Trainer(
        **{"accelerator": "auto", "devices": "auto", "enable_checkpointing": False, **settings},
        strategy=kinds[strategy.pop("name", "ddp")](**strategy),
        plugins=[_utils.RayLightningEnvironment(), *settings.pop("plugins", ())],
    )
    fit = {**config["fit"], **_loaders(iteration)}
    module = config["module_class"](**config["module"])
    last = get_checkpoint()
    if last is None:
        _utils.prepare_trainer(trainer).fit(module, **fit)
        return
    with last.as_directory() as folder:
        path = LightningCheckpoint.from_checkpoint(last)._model_file(folder)
        _utils.prepare_trainer(trainer).fit(module, ckpt_path=path, **fit)


def _loaders(iteration: dict[str, Any]) -> dict[str, Any]:
    from narke.train import _session
    from narke.train.huggingface.transformers._utils import Batches

    session: Any = _session.require("training")
    names = {"train": "train_dataloaders", "val": "val_dataloaders"}
    return {
        names[name]: _loader(Batches(shard.iter_torch_batches(**iteration)))
        for name, shard in session.spec.shards.items()
        if name in names
    }


def _loader(batches: Any) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(batches, batch_size=None)
