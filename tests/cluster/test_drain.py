"""Nodes that are to go: what runs there, what they keep for others, and how they end."""

from __future__ import annotations

import subprocess
import sys
import time

import numpy as np
import pytest
from cluster_members import LARGE, Member, living, ones, slow_where, total, until, where

import narke as ray
from narke.util import placement_group, state
from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy

PREEMPTION = "DRAIN_NODE_REASON_PREEMPTION"
IDLE = "DRAIN_NODE_REASON_IDLE_TERMINATION"


def drain(cluster, node, reason=PREEMPTION, seconds=None) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "narke", "drain-node", f"--address={cluster.address}"]
    command += [f"--node-id={node.node_id}", f"--reason={reason}", "--reason-message=moving house"]
    if seconds is not None:
        command.append(f"--deadline-remaining-seconds={seconds}")
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def at(node) -> NodeAffinitySchedulingStrategy:
    return NodeAffinitySchedulingStrategy(node.node_id, soft=True)


def record(node) -> dict:
    [found] = [each for each in ray.nodes() if each["NodeID"] == node.node_id]
    return found


def test_an_idle_node_goes_at_once_with_its_reason(cluster):
    two = cluster.add_node(num_cpus=1)
    done = drain(cluster, two, IDLE)
    assert done.returncode == 0, done.stderr
    until(lambda: not record(two)["Alive"])
    assert record(two)["DeathReason"] == 4
    [row] = [each for each in state.list_nodes() if each.node_id == two.node_id]
    assert row.state == "DEAD" and "moving house" in row.state_message
    until(lambda: two.process.process.poll() is not None)


def test_a_busy_node_is_not_drained_for_being_idle(cluster):
    two = cluster.add_node(num_cpus=1)
    actor = Member.options(scheduling_strategy=at(two)).remote()
    assert ray.get(actor.node.remote()) == two.node_id
    done = drain(cluster, two, IDLE)
    assert done.returncode == 1 and "not accepted" in done.stderr and "not idle" in done.stderr
    assert ray.get(actor.node.remote()) == two.node_id


def test_the_head_and_strangers_are_not_drained(cluster):
    done = drain(cluster, cluster.head_node)
    assert done.returncode == 1 and "is the head" in done.stderr
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "narke",
            "drain-node",
            f"--address={cluster.address}",
            "--node-id=" + "ab" * 28,
        ]
        + [f"--reason={PREEMPTION}", "--reason-message=x"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "no living node" in done.stderr


def test_nothing_new_comes_to_a_draining_node_and_what_runs_there_ends_first(cluster, tmp_path):
    two = cluster.add_node(num_cpus=2)
    go = tmp_path / "go"

    @ray.remote(max_retries=0)
    def until_told() -> str:
        while not go.exists():
            time.sleep(0.02)
        return ray.get_runtime_context().get_node_id()

    running = until_told.options(scheduling_strategy=at(two)).remote()
    until(lambda: ray.available_resources()["CPU"] == 3)
    assert drain(cluster, two).returncode == 0
    until(lambda: record(two).get("DrainReason") == PREEMPTION)
    assert ray.get(where.options(scheduling_strategy=at(two)).remote()) == cluster.head_node.node_id
    assert set(ray.get([slow_where.remote() for _ in range(3)])) == {cluster.head_node.node_id}
    actor = Member.remote()
    assert ray.get(actor.node.remote()) == cluster.head_node.node_id
    hard = NodeAffinitySchedulingStrategy(two.node_id, soft=False)
    with pytest.raises(ray.exceptions.TaskUnschedulableError, match="drained"):
        ray.get(where.options(scheduling_strategy=hard).remote(), timeout=20)
    group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
    assert not group.wait(0.3)
    assert record(two)["Alive"]
    go.touch()
    assert ray.get(running, timeout=20) == two.node_id
    until(lambda: not record(two)["Alive"])
    assert record(two)["DeathReason"] == 3


def test_restartable_actors_and_objects_move_away(cluster):
    two = cluster.add_node(num_cpus=2)
    mover = Member.options(scheduling_strategy=at(two), max_restarts=1).remote()
    made = ones.options(scheduling_strategy=at(two)).remote(LARGE)
    assert ray.get(mover.node.remote()) == two.node_id
    ray.wait([made], fetch_local=False)
    runs = [mover.add.remote() for _ in range(20)]
    assert drain(cluster, two).returncode == 0
    until(lambda: not record(two)["Alive"])
    assert ray.get(runs) == sorted(ray.get(runs))  # each call ran once, here or there
    assert ray.get(mover.node.remote(), timeout=20) == cluster.head_node.node_id
    [row] = [each for each in state.list_actors() if each.actor_id == mover._actor_id.hex()]
    assert row.state == "ALIVE"

    @ray.remote(max_retries=0)
    def check(values: np.ndarray) -> float:
        return float(values.sum())

    assert ray.get(check.remote(made), timeout=20) == LARGE
    assert ray.get(total.remote(made), timeout=20)[1] == cluster.head_node.node_id


def test_objects_that_no_task_can_make_again_move_away(cluster):
    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    fragile = ones.options(resources={"two": 0.1}, max_retries=0).remote(LARGE)
    ray.wait([fragile], fetch_local=False)
    assert drain(cluster, two).returncode == 0
    until(lambda: not record(two)["Alive"])
    assert ray.get(fragile, timeout=20).sum() == LARGE


def test_at_the_deadline_a_draining_node_goes_whatever_runs_there(cluster, tmp_path):
    two = cluster.add_node(num_cpus=2)
    mortal = Member.options(scheduling_strategy=at(two)).remote()
    assert ray.get(mortal.node.remote()) == two.node_id
    mark = tmp_path / "runs"

    @ray.remote(max_retries=1)
    def task() -> str:
        with open(mark, "a") as file:
            file.write("x")
        if len(mark.read_text()) < 2:
            time.sleep(60)
        return ray.get_runtime_context().get_node_id()

    ref = task.options(scheduling_strategy=at(two)).remote()
    until(lambda: mark.exists())
    assert drain(cluster, two, seconds=1).returncode == 0
    until(lambda: not record(two)["Alive"])
    assert "its time was over" in record(two)["DeathReasonMessage"]
    with pytest.raises(ray.exceptions.ActorDiedError, match="drained") as caught:
        ray.get(mortal.node.remote(), timeout=20)
    assert caught.value.preempted
    assert ray.get(ref, timeout=30) == cluster.head_node.node_id


def test_a_node_that_is_told_to_stop_lets_its_work_go_elsewhere_first(cluster):
    two = cluster.add_node(num_cpus=1, resources={"two": 1})
    fragile = ones.options(resources={"two": 0.1}, max_retries=0).remote(LARGE)
    ray.wait([fragile], fetch_local=False)
    cluster.remove_node(two)  # SIGTERM
    until(lambda: len(living()) == 1)
    assert record(two)["DeathReason"] == 1
    assert ray.get(fragile, timeout=20).sum() == LARGE
