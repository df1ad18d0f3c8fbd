"""Daemons that user code starts in a worker, when they end before it does."""

import os
import pathlib
import subprocess
import sys

import pytest
from waiting import wait_for

import narke

pytestmark = pytest.mark.usefixtures("cluster")

DAEMON = """
import os, sys
os.setsid()
daemon = os.fork()
if daemon:
    print(daemon, flush=True)
    os._exit(0)
os._exit(0)
"""


@narke.remote(num_cpus=0)
class Starter:
    def daemon(self):
        """Start one that ends at once; its id."""
        done = subprocess.run([sys.executable, "-c", DAEMON], stdout=subprocess.PIPE, text=True, check=True)
        return int(done.stdout)

    def child(self):
        """Start one that ends at once, and do not wait for it."""
        self.process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(7)"], start_new_session=True)
        return self.process.pid

    def status(self):
        return self.process.wait()

    def pid(self):
        return os.getpid()


def test_what_came_to_a_worker_and_ended_is_gone_and_its_own_children_are_its_own():
    starter = Starter.remote()
    child = narke.get(starter.child.remote())
    daemon = narke.get(starter.daemon.remote())
    wait_for(lambda: not pathlib.Path(f"/proc/{daemon}").exists(), what="the end of the daemon")
    assert pathlib.Path(f"/proc/{child}").exists()
    assert narke.get(starter.status.remote()) == 7
    narke.kill(starter)
