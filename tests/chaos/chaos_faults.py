"""What can happen to a cluster. Each fault is over when it returns: what it hurt is whole again or was replaced."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time

from chaos_cluster import ChaosCluster, kill

__all__ = ["FAULTS", "Faults"]


class Faults:
    """The faults, on one cluster.

    Args:
        cluster: what is hurt.
        source: who decides which part of it.
    """

    def __init__(self, cluster: ChaosCluster, source: random.Random) -> None:
        self._cluster = cluster
        self._random = source

    def kill_worker(self) -> None:
        """A worker process of any node ends at once."""
        members = [self._cluster.home, *self._cluster.volatile]
        workers = [pid for member in members for pid in member.workers()]
        if workers:
            kill(self._random.choice(workers))

    def kill_node(self) -> None:
        """A node ends as by a crash; another takes its place."""
        self._cluster.replace(self._random.choice(self._cluster.volatile))

    def kill_head(self) -> None:
        """The head ends as by a crash, and is started again after a moment."""
        self._cluster.kill_head()
        time.sleep(self._random.random())
        self._cluster.restart_head()

    def cut_link_for_a_moment(self) -> None:
        """A node's link is cut, and heals before anybody must take the node for dead."""
        self._cut(1.0)

    def cut_link_for_long(self) -> None:
        """A node's link is cut until the node counts as gone; healed, the node learns of that."""
        member = self._cut(6.0)
        self._cluster.replace(member)

    def _cut(self, seconds: float):
        member = self._random.choice(self._cluster.volatile)
        member.link.cut()
        time.sleep(seconds)
        member.link.heal()
        return member

    def stall_worker(self) -> None:
        """A worker process does not run for a second."""
        members = [self._cluster.home, *self._cluster.volatile]
        workers = [pid for member in members for pid in member.workers()]
        if workers:
            self._stall(self._random.choice(workers), 1.0)

    def stall_node(self) -> None:
        """A daemon does not run for a second."""
        self._stall(self._random.choice(self._cluster.volatile).pid, 1.0)

    def stall_head(self) -> None:
        """The head's daemon does not run for so long that it could take everybody for dead."""
        self._stall(self._cluster.head_pid(), 4.0)

    def _stall(self, pid: int, seconds: float) -> None:
        if kill(pid, signal.SIGSTOP):
            time.sleep(seconds)
            kill(pid, signal.SIGCONT)

    def drain_node(self) -> None:
        """A node is to go, with a deadline; another takes its place."""
        member = self._random.choice(self._cluster.volatile)
        command = [
            *self._cluster.home.inside,
            sys.executable,
            "-m",
            "narke",
            "drain-node",
            f"--address={self._cluster.home.session}",
        ]
        command += [f"--node-id={member.node_id}", "--reason=DRAIN_NODE_REASON_PREEMPTION"]
        command += ["--reason-message=chaos", "--deadline-remaining-seconds=4"]
        subprocess.run(command, check=False, capture_output=True, timeout=60)
        member.launcher.wait(30)
        self._cluster.replace(member)

    def fill_disk(self) -> None:
        """The disk of the head's session has no byte left for two seconds."""
        if self._cluster.disk is None:
            return
        with self._cluster.disk.full():
            time.sleep(2.0)


FAULTS = (
    "kill_worker",
    "kill_node",
    "kill_head",
    "cut_link_for_a_moment",
    "stall_worker",
    "stall_node",
    "drain_node",
    "fill_disk",
    "stall_head",
    "cut_link_for_long",
)
