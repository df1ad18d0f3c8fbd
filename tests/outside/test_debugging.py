"""A breakpoint in a task of the cluster, entered from a machine that is not of it."""

from __future__ import annotations

import os
import sys

from hosts import GATE_OUT, HEAD, NARKE, PORT

ADDRESS = f"narke://{GATE_OUT}:{PORT}"
DRIVER = f"""
import time
import narke as ray
from narke._private import kv
ray.init("{HEAD}:{PORT}")

@ray.remote(resources={{"far": 1}})
def task():
    inside = "seen from away"
    breakpoint()
    return inside

ref = task.remote()
while not kv.keys(b"", namespace=b"debugger"):
    time.sleep(0.05)
print("waits", flush=True)
print("returned", ray.get(ref, timeout=60), flush=True)
"""


def test_a_breakpoint_is_entered_with_the_token_alone(cluster):
    path = os.path.join(cluster.head.folder, "stops.py")
    with open(path, "w") as file:
        file.write(DRIVER)
    driver = cluster.head.popen(sys.executable, path, PYTHONUNBUFFERED="1")
    assert driver.stdout.readline() == "waits\n", driver.stderr.read()
    debug = cluster.away.popen(*NARKE, "debug", "--address", ADDRESS)
    said, complained = debug.communicate("0\np inside\ninside = 7\nc\nq\n", timeout=60)
    assert "breakpoint" in said and "'seen from away'" in said, said + complained
    assert debug.returncode == 0, complained
    assert driver.stdout.readline() == "returned 7\n", driver.stderr.read()
    assert driver.wait(30) == 0


def test_without_the_token_nothing_is_said(cluster):
    done = cluster.away.run(*NARKE, "debug", "--list", "--address", ADDRESS, NARKE_AUTH_TOKEN="f" * 64)
    assert done.returncode == 1
    assert "another token" in done.stderr and "INDEX" not in done.stdout
