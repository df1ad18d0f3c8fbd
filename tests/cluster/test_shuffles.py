"""Shuffles of datasets while a node, or the head, is killed in the middle of them: every row is there, once."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import gated_exchanges
import gated_sort
from gated_exchanges import EXCHANGES, exchange_and_check


def test_a_node_is_killed_between_partitions_and_merges(cluster, tmp_path):
    two = cluster.add_node(num_cpus=2)
    gated_sort.sort_and_check(tmp_path / "gate", lambda: cluster.remove_node(two, allow_graceful=False))


@pytest.mark.parametrize("name", list(EXCHANGES))
def test_a_node_is_killed_in_the_middle_of_an_exchange(cluster, tmp_path, name):
    two = cluster.add_node(num_cpus=2)
    gate = tmp_path / "gate"
    exchange_and_check(name, gate, lambda: cluster.remove_node(two, allow_graceful=False))


def start_driver(program: Any, address: str, gate: pathlib.Path) -> subprocess.Popen:
    """A driver that says when an exchange is in its middle; it goes on when it is sent a line."""
    here = pathlib.Path(program.__file__)
    path = os.pathsep.join([str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, str(here), address, str(gate)]
    return subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": path}, **pipes)


def in_the_middle(driver: subprocess.Popen, name: str) -> None:
    """Returns when the driver says that this exchange is in its middle."""
    line = driver.stdout.readline()
    assert line.strip() == name, line + driver.communicate(timeout=30)[1]


def test_the_head_is_killed_between_partitions_and_merges(host, tmp_path):
    host.head()
    driver = start_driver(gated_sort, host.member(), tmp_path / "gate")
    in_the_middle(driver, "ready")
    host.kill_head()
    host.head()
    out, err = driver.communicate("go\n", timeout=90)
    assert out.strip() == "exact", err


def test_the_head_is_killed_in_the_middle_of_one_exchange_after_another(host, tmp_path):
    host.head()
    driver = start_driver(gated_exchanges, host.member(), tmp_path / "gate")
    for name in EXCHANGES:
        in_the_middle(driver, name)
        host.kill_head()
        driver.stdin.write("go\n")
        driver.stdin.flush()  # it goes on without a head
        host.head()
    out, err = driver.communicate(timeout=90)
    assert out.strip() == "exact", err
