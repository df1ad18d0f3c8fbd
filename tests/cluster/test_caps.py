"""Jobs whose share of the cluster is capped."""

from __future__ import annotations

import time

import pytest

import narke as ray
from narke.cluster_utils import Cluster
from narke.job_config import JobConfig


@pytest.fixture
def two_nodes():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    made.add_node(num_cpus=4)
    yield made
    ray.shutdown()
    made.shutdown()


def at_a_time(folder) -> int:
    """The most files that were there together, as tasks saw it that made one each for a while."""

    @ray.remote
    def overlap(number: int) -> int:
        mark = folder / str(number)
        mark.touch()
        time.sleep(0.1)
        count = len(list(folder.iterdir()))
        mark.unlink()
        return count

    folder.mkdir()
    return max(ray.get([overlap.remote(i) for i in range(24)], timeout=60))


def test_a_jobs_tasks_hold_no_more_than_its_cap_wherever_they_run(two_nodes, tmp_path):
    ray.init(address=two_nodes.address, job_config=JobConfig(metadata={"narke.cap": '{"CPU": 2}'}))
    assert at_a_time(tmp_path / "capped") <= 2

    @ray.remote
    def outer() -> int:
        return ray.get(inner.remote()) + 1  # waiting, it lends its CPU: the cap holds nobody up

    @ray.remote
    def inner() -> int:
        return 1

    assert ray.get([outer.remote() for _ in range(4)], timeout=30) == [2] * 4


def test_other_jobs_have_what_a_capped_one_leaves(two_nodes, tmp_path):
    ray.init(address=two_nodes.address)
    assert at_a_time(tmp_path / "free") > 2


@pytest.mark.parametrize("text", ["4", '{"CPU": 0}', '{"CPU": "x"}', "{"])
def test_a_wrong_cap_is_refused(two_nodes, text):
    with pytest.raises(ValueError, match=r"narke\.cap"):
        ray.init(address=two_nodes.address, job_config=JobConfig(metadata={"narke.cap": text}))
