"""The trainer for reinforcement learning."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from narke.train.base_trainer import BaseTrainer
from narke.train.rl.rl_checkpoint import write_origin
from narke.train.v2.api.exceptions import TrainingFailedError

if TYPE_CHECKING:
    from narke.air.result import Result
    from narke.train._checkpoint import Checkpoint

__all__ = ["RLTrainer"]


class RLTrainer(BaseTrainer):
    """Trains an algorithm of RLlib until `RunConfig(stop=)` is met, as one trial of Tune.

    Args:
        algorithm: a class, or a name that RLlib or `narke.tune.register_trainable` knows. A class derives from
            `narke.tune.Trainable` and has `get_policy`.
        config: the algorithm's configuration.
        scaling_config: `num_workers` becomes the algorithm's, GPUs too; what a trial holds, if the algorithm does not
            say it.
        run_config: name, storage, when to stop, when to checkpoint.
        datasets: "train" is what the algorithm learns from in place of its environment.
        preprocessor: fitted on "train", stored with checkpoints.
        resume_from_checkpoint: where to begin.

    Raises:
        TypeError: the algorithm is neither a name nor a class of trainables.
    """

    def __init__(
        self,
        algorithm: str | type,
        config: dict[str, Any] | None = None,
        scaling_config: Any = None,
        run_config: Any = None,
        datasets: dict[str, Any] | None = None,
        preprocessor: Any = None,
        resume_from_checkpoint: Checkpoint | None = None,
    ) -> None:
        from narke.tune import Trainable

        if not isinstance(algorithm, str) and not (
            isinstance(algorithm, type) and issubclass(algorithm, Trainable)
        ):
            raise TypeError(
                f"algorithm= is {algorithm!r}; it must be a name, or a class that derives from Trainable"
            )
        super().__init__(
            scaling_config=scaling_config,
            run_config=run_config,
            datasets=datasets,
            preprocessor=preprocessor,
            resume_from_checkpoint=resume_from_checkpoint,
        )
        self.algorithm = algorithm
        self.config = dict(config or {})

    def training_loop(self) -> None:
        """Refused: the algorithm is a trial of Tune, which calls its steps.

        Raises:
            NotImplementedError: always.
        """
        raise NotImplementedError("an RLTrainer's algorithm is trained by Tune, step by step: call fit()")

    def as_trainable(self) -> Any:
        """The algorithm's class, with this trainer's configuration under each trial's."""
        from narke.tune.registry import get_trainable_cls

        base: Any = get_trainable_cls(self.algorithm) if isinstance(self.algorithm, str) else self.algorithm
        trainer = self

        class Trained(base):
            def setup(self, config: dict[str, Any]) -> None:
                self._whole = trainer._config_of(config)
                super().setup(copy.deepcopy(self._whole))
                begun = trainer.starting_checkpoint
                if begun is not None:
                    with begun.as_directory() as folder:
                        self.load_checkpoint(folder)

            def save_checkpoint(self, checkpoint_dir: str) -> Any:
                saved = super().save_checkpoint(checkpoint_dir)
                write_origin(checkpoint_dir, base, self._whole)
                if trainer.preprocessor is not None:
                    _keep(trainer.preprocessor, checkpoint_dir)
                return saved

            @classmethod
            def default_resource_request(cls, config: dict[str, Any]) -> Any:
                asked = base.default_resource_request(trainer._config_of(config))
                return asked if asked is not None else _room(trainer.scaling_config)

        Trained.__name__ = Trained.__qualname__ = base.__name__
        return Trained

    def _config_of(self, trial: dict[str, Any]) -> dict[str, Any]:
        """The algorithm's configuration in a trial."""
        scaling: dict[str, Any] = {}
        if self.scaling_config.num_workers:
            scaling["num_workers"] = self.scaling_config.num_workers
        if self.scaling_config.use_gpu:
            scaling["num_gpus"] = 1
        if "train" in self.datasets:
            data = self.datasets["train"]
            scaling |= {"input": "dataset", "input_config": {"loader_fn": lambda *_: data}}
        return {
            **scaling,
            **self.config,
            **{name: each for name, each in trial.items() if name != "datasets"},
        }

    def _fit(self) -> Result:
        from narke.tune import Tuner

        self.setup()
        self.preprocess_datasets()
        result = Tuner(self.as_trainable(), run_config=self.run_config).fit()[0]
        if result.error is not None:
            raise TrainingFailedError(f"{type(self).__name__} failed: {result.error}") from result.error
        return result


def _room(scaling: Any) -> Any:
    """What a trial holds: the trainer itself, and its workers."""
    from narke.tune.execution.placement_groups import PlacementGroupFactory

    workers = [dict(scaling._resources_per_worker_not_none) for _ in range(scaling.num_workers or 0)]
    head = dict(scaling._trainer_resources_not_none or {"CPU": 1})
    return PlacementGroupFactory([head, *workers], strategy=scaling.placement_strategy)


def _keep(preprocessor: Any, folder: str) -> None:
    from narke.train._checkpoint import Checkpoint

    Checkpoint.from_directory(folder).set_preprocessor(preprocessor)
