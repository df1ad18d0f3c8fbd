"""A head that keeps the cluster's state in a Redis server: killed, and started again in another place."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time

import pytest
from command_line import start_driver

pytestmark = pytest.mark.skipif(shutil.which("redis-server") is None, reason="there is no redis-server here")


class Redis:
    """A server with a folder, a port and a password of its own."""

    def __init__(self, folder) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.address = f"redis://:pass%20word@127.0.0.1:{self.port}/1?name=tested"
        self.start()

    def start(self) -> None:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
        options += ["--requirepass", "pass word", "--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                assert time.monotonic() < deadline, "redis-server did not start"
                time.sleep(0.02)

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def redis(tmp_path):
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Redis(folder)
    yield server
    server.stop()


def test_a_head_in_another_place_goes_on_from_redis(host, redis, tmp_path):
    host.head(f"--store={redis.address}")
    member = host.member()
    token = host.token()
    driver = start_driver(tmp_path, member, 500)
    redis.stop()  # what is kept outlives the server's process too
    redis.start()
    host.kill_head()
    host.forget_head()  # as on another machine: nothing of the old session is there
    host.head(f"--store={redis.address}", f"--token-file={token}")
    out, err = driver.communicate("go\n", timeout=90)
    assert out.strip() == "after [2, 2, 1]", err


def test_a_store_that_cannot_be_used_is_named_without_its_password(host, redis):
    wrong = redis.address.replace("pass%20word", "guess")
    done = host.try_to_start("--head", f"--port={host.port}", f"--store={wrong}")
    assert done.returncode == 1
    assert str(redis.port) in done.stderr and "guess" not in done.stderr
