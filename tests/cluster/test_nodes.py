"""What runs where in a cluster of several nodes, and what happens when one of them is gone."""

from __future__ import annotations

import os
import pathlib
import time
import uuid

import numpy as np
import pytest

import narke as ray
from narke.util import placement_group, remove_placement_group
from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy

LARGE = 1_000_000  # float64 values: far above what travels inside a message


@ray.remote
def where() -> str:
    return ray.get_runtime_context().get_node_id()


@ray.remote
def meet(folder: str, count: int) -> str:
    """Where it runs; it ends once so many run at the same time."""
    pathlib.Path(folder, uuid.uuid4().hex).touch()
    until(lambda: len(os.listdir(folder)) >= count)
    return ray.get_runtime_context().get_node_id()


@ray.remote
def ones(count: int) -> np.ndarray:
    return np.ones(count)


@ray.remote
def total(values: np.ndarray) -> tuple[float, str]:
    return float(values.sum()), ray.get_runtime_context().get_node_id()


@ray.remote(num_cpus=0)
class Member:
    def __init__(self) -> None:
        self.count = 0

    def node(self) -> str:
        return ray.get_runtime_context().get_node_id()

    def add(self) -> int:
        self.count += 1
        return self.count

    def hold(self, refs: list) -> float:
        return float(ray.get(refs[0]).sum())


def until(condition, seconds: float = 20.0):
    """What `condition` returns once that is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
    return found


def living() -> set[str]:
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def test_resources_of_all_nodes_add_up_and_decide_where_tasks_run(cluster):
    one = cluster.add_node(num_cpus=2, resources={"one": 1})
    two = cluster.add_node(num_cpus=3, resources={"two": 1})
    assert ray.cluster_resources()["CPU"] == 7
    assert living() == {node.node_id for node in cluster.list_all_nodes()}
    for node, name in ((cluster.head_node, "head"), (one, "one"), (two, "two")):
        assert ray.get(where.options(resources={name: 1}).remote()) == node.node_id


def test_tasks_spill_over_to_other_nodes_when_one_is_full(cluster, tmp_path):
    cluster.add_node(num_cpus=2)
    assert set(ray.get([meet.remote(str(tmp_path), 4) for _ in range(4)])) == living()


def test_spread_uses_every_node(cluster, tmp_path):
    cluster.add_node(num_cpus=2)
    spread = meet.options(scheduling_strategy="SPREAD")
    assert set(ray.get([spread.remote(str(tmp_path), 4) for _ in range(4)])) == living()


def test_what_no_node_can_run_runs_when_one_that_can_joins(cluster):
    ref = where.options(resources={"later": 1}).remote()
    actor = Member.options(resources={"later": 0.5}).remote()
    assert ray.wait([ref], timeout=0.3)[0] == []
    late = cluster.add_node(num_cpus=1, resources={"later": 2})
    assert ray.get(ref, timeout=20) == late.node_id
    assert ray.get(actor.node.remote(), timeout=20) == late.node_id


def test_affinity_and_labels(cluster):
    blue = cluster.add_node(num_cpus=1, labels={"colour": "blue"})
    hard = NodeAffinitySchedulingStrategy(blue.node_id, soft=False)
    assert ray.get(where.options(scheduling_strategy=hard).remote()) == blue.node_id
    labelled = NodeLabelSchedulingStrategy(hard={"colour": ray.util.scheduling_strategies.In("blue")})
    assert ray.get(where.options(scheduling_strategy=labelled).remote()) == blue.node_id
    gone = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError, match="not in the cluster"):
        ray.get(where.options(scheduling_strategy=gone).remote())
    soft = NodeAffinitySchedulingStrategy("ab" * 28, soft=True)
    assert ray.get(where.options(scheduling_strategy=soft).remote()) in living()


def test_large_objects_move_between_nodes(cluster):
    one = cluster.add_node(num_cpus=1, resources={"one": 1})
    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    made = ones.options(resources={"one": 0.1}).remote(LARGE)
    at_two = total.options(resources={"two": 0.1})
    assert ray.get(at_two.remote(made)) == (LARGE, two.node_id)
    assert ray.get(made).sum() == LARGE
    put = ray.put(np.full(LARGE, 2.0))
    assert ray.get(at_two.remote(put)) == (2.0 * LARGE, two.node_id)
    assert one.node_id != two.node_id


def test_a_reference_inside_a_value_is_good_on_another_node(cluster):
    cluster.add_node(num_cpus=1, resources={"two": 1})
    actor = Member.options(resources={"two": 0.1}).remote()
    assert ray.get(actor.hold.remote([ray.put(np.ones(LARGE))])) == LARGE


def test_erased_objects_leave_all_stores(cluster):
    cluster.add_node(num_cpus=1, resources={"two": 1})
    at_two = total.options(resources={"two": 0.1})
    ref = ray.put(np.ones(LARGE))
    ray.get(at_two.remote(ref))
    made = ones.options(resources={"two": 0.1}).remote(LARGE)
    ray.get(made)
    del ref, made

    @ray.remote(resources={"two": 0.1})
    def objects_there() -> int:
        from narke import _native

        return _native.control("store_stats", {})["objects"]

    until(lambda: ray.get(objects_there.remote()) == 0)


def test_groups_spread_over_nodes_and_their_tasks_and_actors_follow(cluster):
    cluster.add_node(num_cpus=2)
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    ray.get(group.ready(), timeout=20)
    nodes = [
        ray.get(where.options(placement_group=group, placement_group_bundle_index=index).remote())
        for index in (0, 1)
    ]
    assert set(nodes) == living()
    actor = Member.options(placement_group=group, placement_group_bundle_index=1).remote()
    assert ray.get(actor.node.remote()) == nodes[1]
    remove_placement_group(group)
    until(lambda: ray.available_resources().get("CPU") == 4)


def test_a_task_of_a_node_that_is_gone_runs_again_elsewhere(cluster, tmp_path):
    two = cluster.add_node(num_cpus=2)
    mark = tmp_path / "runs"

    @ray.remote(max_retries=2)
    def task() -> str:
        with open(mark, "a") as file:
            file.write(ray.get_runtime_context().get_node_id() + "\n")
        if len(mark.read_text().split()) == 1:
            time.sleep(60)
        return "done"

    ref = task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(two.node_id, soft=True)).remote()
    until(lambda: mark.exists() and mark.read_text())
    cluster.remove_node(two, allow_graceful=False)
    assert ray.get(ref, timeout=30) == "done"
    assert mark.read_text().split() == [two.node_id, cluster.head_node.node_id]


def test_an_actor_of_a_node_that_is_gone_dies_or_is_restarted(cluster):
    two = cluster.add_node(num_cpus=2, resources={"two": 1})
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=True)
    mortal = Member.options(scheduling_strategy=there).remote()
    lasting = Member.options(scheduling_strategy=there, max_restarts=1, max_task_retries=3).remote()
    assert ray.get([mortal.node.remote(), lasting.node.remote()]) == [two.node_id] * 2
    cluster.remove_node(two, allow_graceful=False)
    with pytest.raises(ray.exceptions.ActorDiedError, match="node"):
        ray.get(mortal.node.remote(), timeout=20)
    assert ray.get(lasting.node.remote(), timeout=20) == cluster.head_node.node_id


def test_objects_lost_with_their_node_are_made_again(cluster):
    two = cluster.add_node(num_cpus=2)
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=True)
    ref = ones.options(scheduling_strategy=there).remote(LARGE)
    ray.wait([ref], fetch_local=False)
    cluster.remove_node(two, allow_graceful=False)
    assert ray.get(total.remote(ref), timeout=30)[0] == LARGE
    assert ray.get(ref, timeout=30).sum() == LARGE


def test_objects_of_an_owner_that_is_gone_end_in_an_error(cluster):
    two = cluster.add_node(num_cpus=2)
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=True)

    @ray.remote
    class Owner:
        def make(self) -> list:
            return [ray.put(np.ones(LARGE))]

    owner = Owner.options(scheduling_strategy=there).remote()
    [ref] = ray.get(owner.make.remote())
    cluster.remove_node(two, allow_graceful=False)
    until(lambda: len(living()) == 1)
    with pytest.raises((ray.exceptions.OwnerDiedError, ray.exceptions.ObjectLostError)):
        ray.get(ref, timeout=20)


def test_output_of_other_nodes_reaches_the_driver(cluster, capfd):
    cluster.add_node(num_cpus=1, resources={"two": 1})

    @ray.remote(resources={"two": 0.1})
    def speak() -> int:
        print("a word from node two")
        return os.getpid()

    pid = ray.get(speak.remote())
    until(lambda: f"pid={pid}" in "".join(capfd.readouterr()), 10)


def test_drivers_of_other_nodes(cluster, tmp_path):
    two = cluster.add_node(num_cpus=1)
    program = tmp_path / "driver.py"
    program.write_text(
        "import narke as ray, sys\n"
        f"ray.init(address={two.session_dir!r})\n"
        "@ray.remote\n"
        "def where(): return ray.get_runtime_context().get_node_id()\n"
        "@ray.remote\n"
        "class A:\n"
        "    def m(self): return 7\n"
        "a = A.options(name='other', lifetime='detached', namespace='n').remote()\n"
        "print(ray.get(a.m.remote()), len(ray.nodes()), ray.get(where.options(resources={'head': .1}).remote()))\n"
    )
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, str(program)], capture_output=True, text=True, timeout=60, env=dict(os.environ)
    )
    assert done.stdout.split() == ["7", "2", cluster.head_node.node_id], done.stderr
    assert ray.get(ray.get_actor("other", namespace="n").m.remote()) == 7
