import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import engine  # noqa: I001  # before ray: it decides what `ray` is

import ray


@pytest.fixture(scope="module")
def cluster():
    """A local cluster of 4 CPUs, 2 GPUs and 4 "custom", shared by the tests of one file."""
    context = ray.init(
        address="local",
        num_cpus=4,
        num_gpus=2,
        resources={"custom": 4},
        include_dashboard=False,
        log_to_driver=False,
    )
    yield context
    ray.shutdown()


@pytest.fixture
def no_cluster():
    """Nothing running before the test, nothing after it."""
    ray.shutdown()
    yield
    ray.shutdown()


@pytest.fixture
def program(tmp_path):
    """Run a text as a program of its own; see `engine.run_program`."""

    def run(source, **options):
        return engine.run_program(tmp_path, source, **options)

    return run


def pytest_report_header():
    return f"engine under test: {'ray ' + ray.__version__ if engine.IS_RAY else 'narke'}"
