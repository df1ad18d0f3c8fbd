"""Clusters of several nodes on this machine, started and stopped by the tests that ask for them."""

from __future__ import annotations

import pytest

import narke
from narke.cluster_utils import Cluster


@pytest.fixture
def cluster():
    """A cluster with a head that has 2 CPUs; this program is connected to it. Nodes are added by the test."""
    made = Cluster(
        initialize_head=True, connect=True, head_node_args={"num_cpus": 2, "resources": {"head": 1}}
    )
    yield made
    narke.shutdown()
    made.shutdown()
