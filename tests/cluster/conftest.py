"""Clusters of several nodes on this machine, started and stopped by the tests that ask for them."""

from __future__ import annotations

import pathlib
import sys
import tempfile

import pytest

import narke
from narke.cluster_utils import Cluster

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))  # cluster_members, here and in workers


@pytest.fixture
def cluster():
    """A cluster with a head that has 2 CPUs; this program is connected to it. Nodes are added by the test."""
    made = Cluster(
        initialize_head=True, connect=True, head_node_args={"num_cpus": 2, "resources": {"head": 1}}
    )
    yield made
    narke.shutdown()
    made.shutdown()


@pytest.fixture
def short_folder():
    """A folder with a short name: sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="nk-") as folder:
        yield folder


@pytest.fixture
def host(short_folder):
    """Nodes that are started by the command line."""
    from command_line import Host

    made = Host(short_folder)
    yield made
    made.stop()
