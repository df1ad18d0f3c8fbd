import contextlib
import pathlib
import socket
import sys
import time
import warnings

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "conformance"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import engine  # noqa: F401, I001  # before ray: it decides what `ray` is

import ray
from ray import serve


class Served:
    """A running Serve with its address."""

    def __init__(self, port):
        self.port = port
        self.url = f"http://127.0.0.1:{port}"


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def until(condition, what, limit_s=40):
    """Wait for a condition; gives what it gave."""
    deadline = time.monotonic() + limit_s
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def serving(num_cpus=8, http_options=None, **options):
    """A cluster with Serve on a free port."""
    if ray.is_initialized():  # seen once: one file's failure is not that of all that follow
        warnings.warn("a session was begun after the one before had ended", stacklevel=2)
        ray.shutdown()
    ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, log_to_driver=False)
    port = free_port()
    serve.start(http_options={"port": port, **(http_options or {})}, **options)
    yield Served(port)
    serve.shutdown()
    ray.shutdown()


@pytest.fixture(scope="module")
def served():
    """A cluster of 8 CPUs with Serve, for the tests of a file."""
    with serving() as made:
        yield made


@pytest.fixture
def clean(served):
    """The same; applications of the test are deleted after it."""
    yield served
    for name in list(serve.status().applications):
        serve.delete(name)
