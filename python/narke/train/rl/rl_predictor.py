"""Acting with trained policies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from narke.train._predicting import TablePredictor

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint

__all__ = ["RLPredictor"]


class RLPredictor(TablePredictor):
    """Gives a policy's actions for observations.

    Args:
        policy: with `compute_actions_from_input_dict`, as policies of RLlib.
        preprocessor: applied to each batch first.
    """

    def __init__(self, policy: Any, preprocessor: Any = None) -> None:
        super().__init__(policy, preprocessor)

    @property
    def policy(self) -> Any:
        """What acts."""
        return self.model

    @classmethod
    def from_checkpoint(cls, checkpoint: Checkpoint, env: Any = None, **kwargs: Any) -> RLPredictor:
        """A predictor with the policy of a checkpoint.

        Args:
            checkpoint: of an `RLTrainer`.
            env: the environment, in place of the configuration's.
            kwargs: kept for programs that pass more.
        """
        from narke.train.rl.rl_checkpoint import RLCheckpoint

        found = RLCheckpoint.from_checkpoint(checkpoint)
        return cls(found.get_policy(env), found.get_preprocessor())

    def _predicted(self, features: Any, **predict_kwargs: Any) -> Any:
        observations = np.asarray(features)
        if observations.dtype == object and observations.shape[1:] == (1,):
            observations = np.stack(list(observations[:, 0]))  # a column of vectors
        found = self.policy.compute_actions_from_input_dict({"obs": observations}, **predict_kwargs)
        return np.asarray(found[0])
