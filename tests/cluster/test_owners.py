"""Who owns a value, and what becomes of it when its owner dies."""

from __future__ import annotations

import os
import signal
import time

import numpy as np
import pytest
from cluster_members import LARGE, Member, until

import narke as ray
from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy


@ray.remote
class Owner:
    def slow(self) -> list:
        @ray.remote
        def wait() -> int:
            time.sleep(600)
            return 1

        return [wait.remote()]

    def block(self, mark: str) -> None:
        while not os.path.exists(mark):
            time.sleep(0.02)

    def ready(self) -> int:
        return os.getpid()


@ray.remote
class Putter:
    def put_for(self, owner, count: int) -> list:
        large = ray.put(np.ones(count), _owner=owner)
        return [large, ray.put({"in": [ray.put("inner", _owner=owner)]}, _owner=owner)]

    def pid(self) -> int:
        return os.getpid()


def test_a_value_that_an_actor_owns_outlives_the_program_that_put_it(cluster):
    two = cluster.add_node(num_cpus=2)
    owner = Member.remote()
    ray.get(owner.node.remote())
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=False)
    putter = Putter.options(scheduling_strategy=there).remote()
    large, small = ray.get(putter.put_for.remote(owner, LARGE))
    os.kill(ray.get(putter.pid.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.ActorDiedError):
        ray.get(putter.pid.remote(), timeout=20)
    assert ray.get(large, timeout=20).sum() == LARGE
    assert ray.get(ray.get(small, timeout=20)["in"][0], timeout=20) == "inner"


def test_a_busy_actor_can_be_made_an_owner(cluster, tmp_path):
    owner = Owner.remote()
    ray.get(owner.ready.remote())
    mark = tmp_path / "go"
    busy = owner.block.remote(str(mark))
    ref = ray.put(np.ones(LARGE), _owner=owner)
    assert ray.get(ref, timeout=20).sum() == LARGE
    mark.touch()
    ray.get(busy, timeout=20)


def is_dead(actor) -> bool:
    try:
        ray.get(actor.ready.remote(), timeout=20)
    except ray.exceptions.ActorDiedError:
        return True
    return False


def test_a_dead_actor_cannot_be_made_an_owner(cluster):
    owner = Owner.remote()
    ray.get(owner.ready.remote())
    ray.kill(owner)
    until(lambda: is_dead(owner))
    with pytest.raises(ray.exceptions.ActorDiedError, match="was to own"):
        ray.put(1, _owner=owner)


def test_who_waits_for_a_value_hears_at_once_that_its_owner_has_died(cluster):
    two = cluster.add_node(num_cpus=1)
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=False)
    owner = Owner.options(scheduling_strategy=there).remote()
    [ref] = ray.get(owner.slow.remote())
    assert ray.wait([ref], timeout=0.1)[0] == []
    os.kill(ray.get(owner.ready.remote()), signal.SIGKILL)
    with pytest.raises(ray.exceptions.OwnerDiedError):
        ray.get(ref, timeout=20)
