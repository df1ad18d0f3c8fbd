import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import engine  # noqa: I001  # before ray: it decides what `ray` is

import ray

if engine.IS_RAY:
    # These look at Narke's own parts.
    collect_ignore = [
        f"test_{name}.py"
        for name in "controller better journal adapters session sigopt mxnet examples hosts".split()
    ]


@pytest.fixture(scope="module")
def cluster():
    """One cluster of 4 CPUs for the tests of each file."""
    os.environ.setdefault("TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", "10")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def fit(cluster, tmp_path):
    """Run a tuner in a folder of its own, without output."""
    from ray import tune

    def run(trainable, space=None, *, config=None, run=None, **tune_config):
        options = {"name": "exp", "storage_path": str(tmp_path), "verbose": 0, **(run or {})}
        return tune.Tuner(
            trainable,
            param_space=space or {},
            tune_config=config or tune.TuneConfig(**tune_config),
            run_config=tune.RunConfig(**options),
        ).fit()

    return run
