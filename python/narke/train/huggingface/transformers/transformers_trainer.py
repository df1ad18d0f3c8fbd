"""The trainer for Hugging Face Transformers."""

from __future__ import annotations

import dataclasses
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from narke.train import _session
from narke.train._checkpoint import Checkpoint
from narke.train.torch.config import TorchConfig
from narke.train.torch.torch_trainer import TorchTrainer

__all__ = ["TransformersTrainer"]


class TransformersTrainer(TorchTrainer):
    """Runs a transformers.Trainer on each of several workers, which form a process group of PyTorch.

    Either a function makes the Trainer on each worker, or its parts are given here.

    Args:
        trainer_init_per_worker: (train_dataset, eval_dataset, **config) -> a transformers.Trainer.
        trainer_init_config: further arguments of it.
        datasets: "train" and "evaluation", for the function.
        model: to train; all workers begin with the same weights.
        args: a TrainingArguments, or a dict of its parameters.
        train_dataset, eval_dataset: of Hugging Face or PyTorch; the Trainer gives each worker its part.
        tokenizer: saved with the model.
        trainer_kwargs: further parameters of transformers.Trainer, for instance data_collator, compute_metrics.
        torch_config, scaling_config, dataset_config, run_config, metadata, preprocessor, resume_from_checkpoint: see
            `TorchTrainer`.

    Raises:
        ValueError: neither a function nor a model is given, or both.
    """

    def __init__(
        self,
        trainer_init_per_worker: Callable[..., Any] | None = None,
        *,
        datasets: dict[str, Any] | None = None,
        trainer_init_config: dict[str, Any] | None = None,
        model: Any = None,
        args: Any = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        tokenizer: Any = None,
        torch_config: TorchConfig | None = None,
        scaling_config: Any = None,
        dataset_config: Any = None,
        run_config: Any = None,
        metadata: dict[str, Any] | None = None,
        preprocessor: Any = None,
        resume_from_checkpoint: Checkpoint | None = None,
        **trainer_kwargs: Any,
    ) -> None:
        if (trainer_init_per_worker is None) == (model is None):
            raise ValueError("TransformersTrainer takes either trainer_init_per_worker or model= and args=")
        self.trainer_init_per_worker = trainer_init_per_worker
        self.trainer_init_config = trainer_init_config
        self.model, self.args, self.tokenizer = model, args, tokenizer
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.trainer_kwargs = trainer_kwargs
        make: Any = functools.partial(_of_function, trainer_init_per_worker, trainer_init_config or {})  # type: ignore
        if model is not None:
            parts = {
                "model": model,
                "train_dataset": train_dataset,
                "eval_dataset": eval_dataset,
                **trainer_kwargs,
            }
            make = functools.partial(_of_parts, parts, _parameters(args), tokenizer)
        super().__init__(
            functools.partial(_train, make),
            torch_config=torch_config,
            scaling_config=scaling_config,
            dataset_config=dataset_config,
            run_config=run_config,
            datasets=datasets,
            metadata=metadata,
            preprocessor=preprocessor,
            resume_from_checkpoint=resume_from_checkpoint,
        )


def _parameters(args: Any) -> dict[str, Any]:
    """The parameters of a TrainingArguments, from which each worker makes its own: with its rank and device."""
    if args is None:
        return {}
    if isinstance(args, dict):
        return dict(args)
    found = {each.name: getattr(args, each.name) for each in dataclasses.fields(args) if each.init}
    found.pop("local_rank", None)
    return found


def _of_parts(parts: dict[str, Any], args: dict[str, Any], tokenizer: Any) -> Any:
    import inspect

    import transformers

    if args:
        parts = {**parts, "args": transformers.TrainingArguments(**args)}
    if tokenizer is not None:
        known = inspect.signature(transformers.Trainer.__init__).parameters
        parts["processing_class" if "processing_class" in known else "tokenizer"] = tokenizer
    return transformers.Trainer(**parts)


def _of_function(function: Callable, config: dict[str, Any]) -> Any:
    from narke.train.huggingface.transformers._utils import Rows

    session: Any = _session.require("training")
    shards = session.spec.shards
    train, evaluation = (Rows(shards[name]) if name in shards else None for name in ("train", "evaluation"))
    return function(train, evaluation, **config)


def _train(make: Callable[[], Any]) -> None:
    """In a worker: make the Trainer and let it train, from the last checkpoint if there is one."""
    from narke.train.huggingface.transformers._utils import RayTrainReportCallback, prepare_trainer
    from narke.train.huggingface.transformers.transformers_checkpoint import files_in

    trainer = prepare_trainer(make())
    trainer.add_callback(RayTrainReportCallback())
    session: Any = _session.require("training")
    before = session._index
    last = session.get_checkpoint()
    if last is None:
        trainer.train()
    else:
        with last.as_directory() as folder:
            trainer.train(resume_from_checkpoint=files_in(folder))
    if session._index == before:  # nothing was saved on the way
        _report_end(trainer)


def _report_end(trainer: Any) -> None:
    from narke.train import get_context, report

    metrics: dict[str, Any] = {}
    for logged in trainer.state.log_history:
        metrics.update(logged)
    if get_context().get_world_rank() != 0:
        report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        trainer.save_model(str(Path(folder, "checkpoint")))
        report(metrics, checkpoint=Checkpoint.from_directory(folder))
