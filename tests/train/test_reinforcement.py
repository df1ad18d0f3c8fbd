"""`RLTrainer` and what belongs to it, with an algorithm that has RLlib's interface."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from narke import air, tune
from narke.data.preprocessor import Preprocessor
from narke.train.rl import RLCheckpoint, RLPredictor, RLTrainer
from narke.train.v2.api.exceptions import TrainingFailedError

pytestmark = pytest.mark.usefixtures("cluster")


class Policy:
    def __init__(self, gain: float) -> None:
        self.gain = gain

    def compute_actions_from_input_dict(self, inputs: dict) -> tuple:
        return inputs["obs"].reshape(len(inputs["obs"]), -1).sum(axis=1) * self.gain, [], {}


class Climbs(tune.Trainable):
    """Its reward grows by `rate` with each step."""

    def setup(self, config: dict) -> None:
        self.rate, self.gain, self.env = config["rate"], 0.0, config.get("env")
        self.workers = config.get("num_workers", 0)

    def step(self) -> dict:
        if self.rate < 0:
            raise ValueError("a rate below 0 leads nowhere")
        self.gain += self.rate
        return {"episode_reward_mean": self.gain, "workers": self.workers}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        Path(checkpoint_dir, "gain.json").write_text(json.dumps(self.gain))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.gain = json.loads(Path(checkpoint_dir, "gain.json").read_text())

    def get_policy(self) -> Policy:
        return Policy(self.gain * (10 if self.env == "steep" else 1))


class Doubles(Preprocessor):
    _is_fittable = False

    def _transform_numpy(self, batch: dict) -> dict:
        return {name: each * 2 for name, each in batch.items()}


def run_config(folder: Path, steps: int = 3) -> air.RunConfig:
    return air.RunConfig(
        name="run",
        storage_path=str(folder),
        stop={"training_iteration": steps},
        checkpoint_config=air.CheckpointConfig(checkpoint_at_end=True),
        verbose=0,
    )


def test_an_algorithm_is_trained_until_its_stop_and_acts_from_its_checkpoint(tmp_path: Path) -> None:
    trainer = RLTrainer(Climbs, {"rate": 0.5}, air.ScalingConfig(num_workers=1), run_config(tmp_path))
    result = trainer.fit()
    assert (result.metrics["episode_reward_mean"], result.metrics["workers"]) == (1.5, 1)
    predictor = RLPredictor.from_checkpoint(result.checkpoint)
    assert predictor.predict(np.ones((2, 2)))["predictions"].tolist() == [3.0, 3.0]
    assert predictor.predict(pd.DataFrame({"a": [1.0], "b": [3.0]}))["predictions"].tolist() == [6.0]
    steep = RLCheckpoint.from_checkpoint(result.checkpoint).get_policy(env="steep")
    assert steep.gain == 15.0


def test_an_algorithm_goes_on_from_a_checkpoint_and_keeps_its_preprocessor(tmp_path: Path) -> None:
    tune.register_trainable("climbs", Climbs)
    first = RLTrainer("climbs", {"rate": 1.0}, run_config=run_config(tmp_path / "a"))
    begun = first.fit().checkpoint
    second = RLTrainer(
        Climbs,
        {"rate": 1.0},
        run_config=run_config(tmp_path / "b", 1),
        preprocessor=Doubles(),
        resume_from_checkpoint=begun,
    ).fit()
    assert second.metrics["episode_reward_mean"] == 4.0
    predictor = RLPredictor.from_checkpoint(second.checkpoint)
    assert predictor.predict({"obs": np.ones((1, 2))})["predictions"].tolist() == [16.0]


def test_a_search_over_an_algorithm_changes_its_configuration(tmp_path: Path) -> None:
    grid = tune.Tuner(
        RLTrainer(Climbs, {"rate": 1.0}),
        param_space={"rate": tune.grid_search([1.0, 2.0])},
        run_config=run_config(tmp_path, 2),
    ).fit()
    assert sorted(result.metrics["episode_reward_mean"] for result in grid) == [2.0, 4.0]


def test_failures_and_wrong_algorithms_are_said(tmp_path: Path) -> None:
    with pytest.raises(TrainingFailedError, match="leads nowhere"):
        RLTrainer(Climbs, {"rate": -1.0}, run_config=run_config(tmp_path)).fit()
    with pytest.raises(TypeError, match="derives from Trainable"):
        RLTrainer(dict)  # type: ignore[arg-type]
    with pytest.raises(tune.TuneError, match="unheard"):
        RLTrainer("unheard").fit()
