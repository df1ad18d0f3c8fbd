"""Private names of Ray that libraries import, under `import ray`."""

import asyncio
import os
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parents[3] / "python"
PROGRAM = """
import narke._alias
narke._alias.install()
import ray
{body}
"""


def program(body):
    """The words that a program prints in which `import ray` gives this package."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(body=body)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.split()


@pytest.mark.parametrize(
    "line",
    [
        "from ray._private.services import get_node_ip_address as name",
        "from ray._private.worker import global_worker as name",
        "from ray._private.utils import get_or_create_event_loop as name",
        "from ray._private.ray_constants import env_integer as name",
        "from ray._private.test_utils import wait_for_condition as name",
        "from ray._common.test_utils import SignalActor as name",
        "from ray._common.network_utils import build_address as name",
        "from ray._raylet import ObjectRefGenerator as name",
        "import ray._private.services; name = ray._private.services.get_node_ip_address",
        "name = ray._raylet.ObjectRef",
        "name = ray.worker.global_worker",
        "name = ray.logger",
    ],
)
def test_is_there(line):
    assert program(f"{line}\nprint(name is not None)") == ["True"]


def test_what_is_not_there_is_said():
    body = """
try:
    import ray._private.gcs_pubsub
except ImportError as error:
    print(error)
"""
    assert program(body) == ["No", "module", "named", "'ray._private.gcs_pubsub'"]


def test_one_module_under_both_names():
    body = "import ray._common.utils, ray._private.utils\nprint(ray._common.utils is ray._private.utils)"
    assert program(body) == ["True"]


def test_the_worker_tells_of_its_connection():
    body = """
from ray._private.worker import SCRIPT_MODE, WORKER_MODE, global_worker
print(global_worker.connected, global_worker.mode)
try:
    global_worker.check_connected()
except ray.exceptions.RaySystemError:
    print("refused")
ray.init(address="local", num_cpus=1, include_dashboard=False, namespace="here")
print(global_worker.connected, global_worker.mode == SCRIPT_MODE, global_worker.namespace)
print(global_worker.current_node_id.hex() == ray.get_runtime_context().get_node_id())
node = global_worker.node
print(node.session_name.startswith("session_"), node.address == node.gcs_address)

@ray.remote
def inside():
    from ray._private.services import get_node_ip_address
    return global_worker.mode == WORKER_MODE, get_node_ip_address()

print(ray.get(inside.remote()) == (True, global_worker.node_ip_address))
"""
    assert program(body) == "False None refused True True here True True True True".split()


def test_a_signal_lets_all_go():
    body = """
from ray._common.test_utils import SignalActor, Semaphore, wait_for_condition
ray.init(address="local", num_cpus=1, include_dashboard=False)
signal = SignalActor.remote()
waiting = [signal.wait.remote() for _ in range(3)]
wait_for_condition(lambda: ray.get(signal.cur_num_waiters.remote()) == 3)
ray.get(signal.send.remote())
ray.get(waiting, timeout=10)
semaphore = Semaphore.remote(1)
ray.get(semaphore.acquire.remote())
print(ray.get(semaphore.locked.remote()))
"""
    assert program(body) == ["True"]


class TestHelpers:
    def test_waiting_ends_in_an_error(self):
        from narke._compat.test_utils import async_wait_for_condition, wait_for_condition

        with pytest.raises(RuntimeError, match="wasn't met"):
            wait_for_condition(lambda: False, timeout=0.05, retry_interval_ms=10)
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            wait_for_condition(lambda: 1 / 0, timeout=0.05, retry_interval_ms=10)
        with pytest.raises(ZeroDivisionError):
            wait_for_condition(lambda: 1 / 0, timeout=5, raise_exceptions=True)
        with pytest.raises(RuntimeError, match="wasn't met"):
            asyncio.run(async_wait_for_condition(lambda: False, timeout=0.05, retry_interval_ms=10))

    @pytest.mark.parametrize("path", ["os.path:join", "os.path.join"])
    def test_names_are_imported(self, path):
        from narke._compat.utils import import_attr

        assert import_attr(path) is os.path.join

    @pytest.mark.parametrize(
        ("text", "parts"),
        [("host:80", ("host", "80")), ("[::1]:80", ("::1", "80")), ("::1", None), ("host", None)],
    )
    def test_addresses_are_taken_apart(self, text, parts):
        from narke._compat.network_utils import build_address, parse_address

        assert parse_address(text) == parts
        if parts:
            assert build_address(*parts) == text

    def test_numbers_come_from_the_environment(self, monkeypatch):
        from narke._compat.ray_constants import env_bool, env_float, env_integer

        monkeypatch.setenv("NARKE_TEST_NUMBER", " -3 ")
        assert (env_integer("NARKE_TEST_NUMBER", 1), env_float("NARKE_TEST_NUMBER", 1.0)) == (-3, -3.0)
        monkeypatch.setenv("NARKE_TEST_NUMBER", "true")
        assert (env_integer("NARKE_TEST_NUMBER", 1), env_bool("NARKE_TEST_NUMBER", False)) == (1, True)
