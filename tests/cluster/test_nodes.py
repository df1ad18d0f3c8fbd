"""What runs where in a cluster of several nodes, and what happens when one of them is gone."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from cluster_members import LARGE, Member, gated, living, meet, ones, total, until, where

import narke as ray
from narke._private.state import available_resources_per_node
from narke.util import placement_group, remove_placement_group
from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy, NodeLabelSchedulingStrategy


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


def test_affinity_waits_for_its_node_while_others_are_free(cluster, tmp_path):
    blue = cluster.add_node(num_cpus=1)
    hard, soft = (NodeAffinitySchedulingStrategy(blue.node_id, soft=soft) for soft in (False, True))
    folder = tmp_path / "marks"
    folder.mkdir()
    refs = [gated.options(scheduling_strategy=hard).remote(str(folder))]
    until(lambda: len(os.listdir(folder)) == 1)
    refs += [where.options(scheduling_strategy=strategy).remote() for strategy in (hard, soft)]
    assert ray.wait(refs, timeout=0.5)[0] == []
    (folder / "gate").touch()
    assert set(ray.get(refs, timeout=30)) == {blue.node_id}


def test_what_no_node_can_run_runs_when_one_that_can_joins(cluster):
    ref = where.options(resources={"later": 1}).remote()
    actor = Member.options(resources={"later": 0.5}).remote()
    assert ray.wait([ref], timeout=0.3)[0] == []
    late = cluster.add_node(num_cpus=1, resources={"later": 2})
    assert ray.get(ref, timeout=20) == late.node_id
    assert ray.get(actor.node.remote(), timeout=20) == late.node_id


def test_a_long_constructor_runs_once_though_another_node_is_free(cluster, tmp_path):
    cluster.add_node(num_cpus=2)

    @ray.remote(num_cpus=2)  # all that its node has
    class Model:
        def __init__(self):
            (tmp_path / f"begun-{os.getpid()}").touch()
            time.sleep(3)  # over several looks at what waits

        def node(self):
            return ray.get_runtime_context().get_node_id()

    model = Model.remote()
    assert ray.get(model.node.remote(), timeout=60) in living()
    assert len(list(tmp_path.iterdir())) == 1


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


def test_what_is_free_is_known_by_node(cluster):
    second = cluster.add_node(num_cpus=3, resources={"blue": 1})
    free = available_resources_per_node()
    assert free[second.node_id]["CPU"] == 3 and free[second.node_id]["blue"] == 1
    assert free[cluster.head_node.node_id]["CPU"] == 2 and "blue" not in free[cluster.head_node.node_id]
    cluster.remove_node(second)
    until(lambda: second.node_id not in available_resources_per_node())


def test_an_address_that_nodes_share_is_one_resource(cluster):
    cluster.add_node(num_cpus=1)
    assert ray.cluster_resources()["node:127.0.0.1"] == 1
    assert ray.available_resources()["node:127.0.0.1"] == 1


def test_tasks_go_where_their_data_is(cluster):
    two = cluster.add_node(num_cpus=2, resources={"two": 1})
    made = ones.options(resources={"two": 0.1}).remote(LARGE)
    ray.wait([made], fetch_local=False)
    assert ray.get(total.remote(made)) == (LARGE, two.node_id)
    here = ray.put(np.ones(LARGE))
    assert ray.get(total.remote(here)) == (LARGE, cluster.head_node.node_id)


def test_a_full_node_does_not_hold_up_tasks_for_the_sake_of_their_data(cluster):
    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    made = ones.options(resources={"two": 0.1}).remote(LARGE)
    ray.wait([made], fetch_local=False)
    held = Member.options(num_cpus=1, resources={"two": 0.1}).remote()
    assert ray.get(held.node.remote()) == two.node_id
    assert ray.get(total.remote(made), timeout=20) == (LARGE, cluster.head_node.node_id)


def runs_in(mark) -> int:
    """How often a task has run that wrote a line into `mark` each time."""
    return len(mark.read_text().split())


def test_a_copy_elsewhere_is_kept_when_the_node_of_the_first_is_gone(cluster, tmp_path):
    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    three = cluster.add_node(num_cpus=1, resources={"three": 1})
    mark = tmp_path / "runs"

    @ray.remote(max_retries=3)
    def once() -> np.ndarray:
        with open(mark, "a") as file:
            file.write("x\n")
        return np.ones(LARGE)

    fragile = ones.options(resources={"two": 0.1}, max_retries=0).remote(LARGE)
    kept = once.options(resources={"two": 0.1}).remote()
    reader = total.options(resources={"three": 0.1})
    assert [ray.get(reader.remote(ref))[1] for ref in (fragile, kept)] == [three.node_id] * 2
    cluster.remove_node(two, allow_graceful=False)
    until(lambda: len(living()) == 2)
    assert ray.get(fragile, timeout=20).sum() == LARGE
    assert ray.get(kept, timeout=20).sum() == LARGE
    assert runs_in(mark) == 1


def test_intermediate_objects_that_are_lost_are_made_again_one_from_another(cluster, tmp_path):
    mark = tmp_path / "runs"

    @ray.remote(max_retries=3)
    def first() -> np.ndarray:
        with open(mark, "a") as file:
            file.write("x\n")
        return np.ones(LARGE)

    @ray.remote(max_retries=3)
    def doubled(values: np.ndarray) -> np.ndarray:
        return 2 * values

    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=True)
    last = doubled.options(scheduling_strategy=there).remote(
        doubled.options(scheduling_strategy=there).remote(first.options(scheduling_strategy=there).remote())
    )
    ray.wait([last], fetch_local=False)
    cluster.remove_node(two, allow_graceful=False)
    assert ray.get(last, timeout=30).sum() == 4 * LARGE
    assert runs_in(mark) == 2


def test_items_of_a_generator_that_are_lost_are_yielded_again(cluster, tmp_path):
    mark = tmp_path / "runs"

    @ray.remote(max_retries=3)
    def stream(count: int):
        with open(mark, "a") as file:
            file.write("x\n")
        for value in range(count):
            yield np.full(LARGE, float(value))

    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=True)
    refs = list(stream.options(scheduling_strategy=there).remote(4))
    ray.wait(refs, num_returns=4, fetch_local=False)
    assert runs_in(mark) == 1
    cluster.remove_node(two, allow_graceful=False)
    assert ray.get(refs[3], timeout=30)[0] == 3.0
    assert runs_in(mark) == 2


class Maker:
    """An actor whose methods' results are large."""

    def made(self, value: float) -> np.ndarray:
        return np.full(LARGE, value)

    def doubled(self, values: np.ndarray) -> np.ndarray:
        return 2 * values

    def stream(self, count: int):
        for value in range(count):
            yield np.full(LARGE, float(value))


def test_results_of_an_actor_that_are_lost_with_its_node_are_made_again(cluster):
    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=True)
    maker = ray.remote(Maker).options(scheduling_strategy=there, max_restarts=1, max_task_retries=2).remote()
    made = maker.made.remote(3.0)
    items = list(maker.stream.options(num_returns="streaming").remote(2))
    ray.wait([made, *items], num_returns=3, fetch_local=False)
    cluster.remove_node(two, allow_graceful=False)
    assert ray.get(total.remote(made), timeout=30)[0] == 3 * LARGE
    assert ray.get(items[1], timeout=30)[0] == 1.0


def test_results_of_an_actor_that_is_dead_or_does_not_repeat_calls_stay_lost(cluster):
    two = cluster.add_node(num_cpus=3, resources={"two": 1})
    there = NodeAffinitySchedulingStrategy(two.node_id, soft=True)
    maker = ray.remote(Maker)
    mortal = maker.options(scheduling_strategy=there, max_task_retries=1).remote()
    once = maker.options(scheduling_strategy=there, max_restarts=1).remote()
    twice = maker.options(scheduling_strategy=there, max_restarts=1, max_task_retries=1).remote()
    refs = [maker.made.remote(1.0) for maker in (mortal, once)]
    refs.append(twice.doubled.remote(twice.made.remote(1.0)))
    ray.wait(refs, num_returns=3, fetch_local=False)
    cluster.remove_node(two, allow_graceful=False)
    with pytest.raises(ray.exceptions.ObjectReconstructionFailedError, match="actor that made it is dead"):
        ray.get(refs[0], timeout=30)
    for ref in refs[1:]:  # the second reads a large object: see docs/ray-suites.md
        with pytest.raises(ray.exceptions.ObjectReconstructionFailedError, match="max_task_retries"):
            ray.get(ref, timeout=30)


def test_a_generator_that_is_retried_gives_each_item_once(cluster, tmp_path):
    mark = tmp_path / "runs"

    @ray.remote(max_retries=3, retry_exceptions=True)
    def stream():
        with open(mark, "a") as file:
            file.write("x\n")
        for value in range(4):
            if value == 2 and runs_in(mark) == 1:
                raise ValueError("once")
            yield value

    few = stream.options(_generator_backpressure_num_objects=2)
    assert [ray.get(ref, timeout=20) for ref in few.remote()] == [0, 1, 2, 3]


def test_a_kill_that_lets_an_actor_restart_is_done_once(cluster):
    actor = Member.options(max_restarts=-1, max_task_retries=-1).remote()
    assert ray.get([actor.add.remote(), actor.add.remote()]) == [1, 2]
    ray.kill(actor, no_restart=False)
    until(lambda: ray.get(actor.add.remote(), timeout=20) == 1)
    assert ray.get(actor.add.remote(), timeout=20) == 2
