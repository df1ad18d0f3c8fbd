import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import engine  # noqa: F401, I001  # before ray: it decides what `ray` is

import ray


@pytest.fixture(scope="module", autouse=True)
def cluster():
    """One cluster of 4 CPUs for the tests of each file."""
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    yield
    ray.shutdown()
