"""Checkpoints of reinforcement learning: what an algorithm saved, and its class and configuration beside it."""

from __future__ import annotations

import os
from typing import Any

from narke import cloudpickle
from narke.train._framework_checkpoint import FrameworkCheckpoint

__all__ = ["RL_CONFIG_FILE", "RL_TRAINER_CLASS_FILE", "RLCheckpoint"]

RL_TRAINER_CLASS_FILE = "trainer_class.pkl"
RL_CONFIG_FILE = "config.pkl"


def write_origin(folder: str, algorithm: type, config: dict[str, Any]) -> None:
    """Write into a checkpoint's folder what it is a checkpoint of."""
    for name, value in ((RL_TRAINER_CLASS_FILE, algorithm), (RL_CONFIG_FILE, config)):
        with open(os.path.join(folder, name), "wb") as file:
            cloudpickle.dump(value, file)


class RLCheckpoint(FrameworkCheckpoint):
    """A checkpoint of `RLTrainer`."""

    MODEL_FILENAME = RL_TRAINER_CLASS_FILE

    def get_policy(self, env: Any = None) -> Any:
        """The algorithm's policy, as it was trained.

        Args:
            env: the environment, in place of the configuration's.

        Raises:
            RuntimeError: this is no checkpoint of an `RLTrainer`.
        """
        with self.as_directory() as folder:
            with open(self._model_file(folder), "rb") as file:
                algorithm = cloudpickle.load(file)
            with open(os.path.join(folder, RL_CONFIG_FILE), "rb") as file:
                config = cloudpickle.load(file)
            made = algorithm(config={**config, **({} if env is None else {"env": env})})
            made.load_checkpoint(folder)
            return made.get_policy()
