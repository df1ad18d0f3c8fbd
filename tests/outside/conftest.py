"""The hosts, once for each module of tests."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from hosts import network


@pytest.fixture(scope="module")
def net():
    """Four hosts without programs."""
    with network() as made:
        yield made


@pytest.fixture(scope="module")
def cluster(net):
    """The hosts, with a head and a worker, and a way in for drivers away."""
    net.start_head()
    net.start_worker()
    net.plug_in()
    return net
