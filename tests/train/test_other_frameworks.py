"""Training with JAX and Keras."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from narke import train
from narke.train import RunConfig, ScalingConfig

pytestmark = pytest.mark.usefixtures("cluster")


def settings(storage: Path, workers: int = 2) -> dict:
    return {
        "scaling_config": ScalingConfig(num_workers=workers),
        "run_config": RunConfig(name="run", storage_path=str(storage)),
    }


def test_jax_workers_are_one_runtime(tmp_path: Path) -> None:
    pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    from narke.train.v2.jax import JaxTrainer

    def loop():
        import jax

        train.report({"processes": jax.process_count(), "index": jax.process_index()})

    assert JaxTrainer(loop, **settings(tmp_path)).fit().metrics == {"processes": 2, "index": 0}


def test_tensorflow_workers_know_each_other(tmp_path: Path) -> None:
    from narke.train.tensorflow import TensorflowTrainer

    def loop():
        import json

        told = json.loads(os.environ["TF_CONFIG"])
        return len(set(told["cluster"]["worker"])), told["task"]

    result = TensorflowTrainer(loop, **settings(tmp_path)).fit()
    assert result.return_value == (2, {"type": "worker", "index": 0})


def test_keras_reports_and_saves(tmp_path: Path) -> None:
    pytest.importorskip("keras", reason="Keras is not installed: pip install keras")
    pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    from narke.train.data_parallel_trainer import DataParallelTrainer

    def loop():
        os.environ["KERAS_BACKEND"] = "jax"
        import keras
        import numpy as np

        from narke.air.integrations.keras import ReportCheckpointCallback

        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        model.compile(optimizer="sgd", loss="mse")
        with pytest.raises(ValueError, match="no event"):
            ReportCheckpointCallback(checkpoint_on="sometimes")
        x = np.ones((16, 2), "float32")
        model.fit(
            x, x.sum(1), epochs=3, verbose=0, callbacks=[ReportCheckpointCallback(metrics={"mse": "loss"})]
        )

    result = DataParallelTrainer(loop, **settings(tmp_path, 1)).fit()
    assert len(result.metrics_dataframe) == 3
    assert list(result.metrics) == ["mse"]
    assert os.listdir(result.checkpoint.path) == ["model.keras"]
