"""Shuffles of datasets while a node, or the head, is killed in the middle of them: every row is there, once."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

pytest.importorskip("pyarrow")

import gated_sort
import numpy as np
from gated_exchanges import EXCHANGES

import narke.data


def test_a_node_is_killed_between_partitions_and_merges(cluster, tmp_path):
    two = cluster.add_node(num_cpus=2)
    gated_sort.sort_and_check(tmp_path / "gate", lambda: cluster.remove_node(two, allow_graceful=False))


@pytest.mark.parametrize("name", list(EXCHANGES))
def test_a_node_is_killed_in_the_middle_of_an_exchange(cluster, tmp_path, name):
    narke.data.DataContext.get_current().enable_progress_bars = False
    two = cluster.add_node(num_cpus=2)
    made, check = EXCHANGES[name]
    gate, batches = tmp_path / "gate", []
    for batch in made(gate).iter_batches(batch_size=None, prefetch_batches=0):
        if not batches:
            cluster.remove_node(two, allow_graceful=False)
            gate.touch()
        batches.append(batch)
    check({name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]})


def start_driver(address: str, gate: pathlib.Path) -> subprocess.Popen:
    """A driver whose sort is in its middle; it goes on when it is sent a line."""
    here = pathlib.Path(gated_sort.__file__)
    path = os.pathsep.join([str(here.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    command = [sys.executable, str(here), address, str(gate)]
    driver = subprocess.Popen(command, text=True, env={**os.environ, "PYTHONPATH": path}, **pipes)
    line = driver.stdout.readline()
    assert line.strip() == "ready", line + driver.communicate(timeout=30)[1]
    return driver


def test_the_head_is_killed_between_partitions_and_merges(host, tmp_path):
    host.head()
    driver = start_driver(host.member(), tmp_path / "gate")
    host.kill_head()
    host.head()
    out, err = driver.communicate("go\n", timeout=90)
    assert out.strip() == "exact", err
