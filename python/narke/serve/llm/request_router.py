"""Routers for replicas that have language models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from narke.serve.request_router import (
    LocalityMixin,
    MultiplexMixin,
    PendingRequest,
    ReplicaID,
    RequestRouter,
    RunningReplica,
)

__all__ = ["KVAwareRouter", "PrefixCacheAffinityRouter", "PrefixTree"]


_MOST_CHARS = 400_000  # remembered of a replica


class _Node:
    __slots__ = ("children", "last_used", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self.children: dict[str, _Node] = {}
        self.last_used: dict[str, int] = {}  # by replica


class PrefixTree:
    """Which replica has read texts with which beginnings: a compressed trie. Pure.

    Attributes:
        size: characters held, for each replica.
    """

    def __init__(self) -> None:
        self._root = _Node("")
        self._time = 0
        self.size: dict[str, int] = {}

    def insert(self, text: str, replica: str) -> None:
        """The replica reads this text."""
        self._time += 1
        node, rest = self._root, text
        while rest:
            child = node.children.get(rest[0])
            if child is None:
                child = node.children[rest[0]] = _Node(rest)
            common = _common(child.text, rest)
            if common < len(child.text):
                child = self._split(node, child, common)
            if replica not in child.last_used:
                self.size[replica] = self.size.get(replica, 0) + len(child.text)
            child.last_used[replica] = self._time
            node, rest = child, rest[common:]

    def _split(self, parent: _Node, child: _Node, at: int) -> _Node:
        upper = _Node(child.text[:at])
        upper.last_used = dict(child.last_used)
        child.text = child.text[at:]
        upper.children[child.text[0]] = child
        parent.children[upper.text[0]] = upper
        return upper

    def match(self, text: str, replicas: Iterable[str]) -> tuple[int, set[str]]:
        """The longest beginning of the text that one of the replicas has read: its length, and who has."""
        able = set(replicas)
        node, rest, length, found = self._root, text, 0, set(able)
        while rest:
            child = node.children.get(rest[0])
            having = found & child.last_used.keys() if child is not None else set()
            if child is None or not having:
                break
            common = _common(child.text, rest)
            length, found = length + common, having
            if common < len(child.text):
                break
            node, rest = child, rest[common:]
        return length, found if length else set()

    def evict(self, replica: str, target: int) -> None:
        """Forget what a replica read longest ago, until it has no more than `target` characters."""
        held: list[tuple[int, _Node]] = []
        self._collect(self._root, replica, held)
        for _, node in sorted(held, key=lambda each: each[0]):
            if self.size.get(replica, 0) <= target:
                break
            del node.last_used[replica]
            self.size[replica] -= len(node.text)
        self._prune(self._root)

    def forget(self, replica: str) -> None:
        """The replica is gone."""
        self.evict(replica, 0)
        self.size.pop(replica, None)

    def _collect(self, node: _Node, replica: str, held: list[tuple[int, _Node]]) -> None:
        for child in node.children.values():
            self._collect(child, replica, held)
            if replica in child.last_used:
                held.append((child.last_used[replica], child))

    def _prune(self, node: _Node) -> None:
        for child in list(node.children.values()):
            self._prune(child)
            if not child.last_used and not child.children:
                del node.children[child.text[0]]


def _common(a: str, b: str) -> int:
    """Length of the beginning that two texts share."""
    low, high = 0, min(len(a), len(b))
    while low < high:
        middle = (low + high + 1) // 2
        if a[:middle] == b[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


class PrefixCacheAffinityRouter(LocalityMixin, MultiplexMixin, RequestRouter):
    """Sends a prompt to the replica that has read its beginning, unless that one has far more to do than others.

    What it knows is this process's own: the ingress sees all requests that come over HTTP.
    """

    def initialize_state(  # type: ignore[override]
        self,
        imbalanced_threshold: float = math.inf,
        match_rate_threshold: float = 0.1,
        do_eviction: bool = False,
        eviction_threshold_chars: int = 400_000,
        eviction_target_chars: int = 360_000,
        eviction_interval_secs: int = 10,
        tree_actor: Any = None,
    ) -> None:
        """Take the options.

        Args:
            imbalanced_threshold: difference of requests under way at which the beginning does not count any more.
            match_rate_threshold: share of the prompt that must be known for it to count.
            do_eviction: bound what is remembered of each replica.
            eviction_threshold_chars, eviction_target_chars: from how many characters on, and down to how many.
            eviction_interval_secs: kept for configs that have it; eviction happens as soon as it is due.
            tree_actor: kept for configs that have it.
        """
        self._tree = PrefixTree()
        self._imbalance = imbalanced_threshold
        self._least_share = match_rate_threshold
        self._most_chars = eviction_threshold_chars if do_eviction else math.inf
        self._target_chars = eviction_target_chars

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """These are the replicas now."""
        gone = set(self.curr_replicas) - {replica.replica_id for replica in replicas}
        for replica_id in gone:
            self._tree.forget(replica_id.unique_id)
        super().update_replicas(replicas)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Those that have read the prompt's beginning, then all."""
        groups = [candidate_replicas]
        model = getattr(pending_request and pending_request.metadata, "multiplexed_model_id", "")
        if model:
            groups = self.rank_replicas_via_multiplex(candidate_replicas, model)
        text = _prompt_of(pending_request)
        loads = [replica._replica.mine for replica in candidate_replicas]
        if not text or not loads or max(loads) - min(loads) > self._imbalance:
            return groups
        length, known = self._tree.match(text, (each.replica_id.unique_id for each in candidate_replicas))
        if length >= self._least_share * len(text):
            near = [each for each in candidate_replicas if each.replica_id.unique_id in known]
        else:  # the one that has read least has most room
            fewest = min(self._tree.size.get(r.replica_id.unique_id, 0) for r in candidate_replicas)
            near = [r for r in candidate_replicas if self._tree.size.get(r.replica_id.unique_id, 0) == fewest]
        return [near, *groups]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """The replica reads the prompt."""
        if text := _prompt_of(pending_request):
            self._tree.insert(text, replica_id.unique_id)
            if self._tree.size.get(replica_id.unique_id, 0) > self._most_chars:
                self._tree.evict(replica_id.unique_id, self._target_chars)


class KVAwareRouter(RequestRouter):
    """Sends a request where the least is to be done for it.

    That is to read what the replica does not know of the prompt, and to wait: a request under way counts as much as
    reading the average prompt. What it knows is this process's own.
    """

    def initialize_state(self) -> None:  # type: ignore[override]
        """Nothing is known yet."""
        self._tree = PrefixTree()
        self._asked = 0
        self._chars = 0

    def update_replicas(self, replicas: list[RunningReplica]) -> None:
        """These are the replicas now."""
        for replica_id in set(self.curr_replicas) - {replica.replica_id for replica in replicas}:
            self._tree.forget(replica_id.unique_id)
        super().update_replicas(replicas)

    async def choose_replicas(
        self, candidate_replicas: list[RunningReplica], pending_request: PendingRequest | None = None
    ) -> list[list[RunningReplica]]:
        """Each replica in a group of its own, the one with the least to do first."""
        text = _prompt_of(pending_request)
        average = self._chars / self._asked if self._asked else 1.0

        def work(replica: RunningReplica) -> tuple[float, int]:  # of equal ones, where the least is held
            name = replica.replica_id.unique_id
            known, _ = self._tree.match(text, [name])
            return len(text) - known + average * replica._replica.mine, self._tree.size.get(name, 0)

        groups: dict[tuple[float, int], list[RunningReplica]] = {}
        for replica in candidate_replicas:
            groups.setdefault(work(replica), []).append(replica)
        return [groups[key] for key in sorted(groups)]

    def on_request_routed(self, pending_request: PendingRequest, replica_id: ReplicaID, result: Any) -> None:
        """The replica reads the prompt."""
        if text := _prompt_of(pending_request):
            self._asked += 1
            self._chars += len(text)
            self._tree.insert(text, replica_id.unique_id)
            if self._tree.size[replica_id.unique_id] > _MOST_CHARS:
                self._tree.evict(replica_id.unique_id, _MOST_CHARS * 9 // 10)


def _prompt_of(pending: PendingRequest | None) -> str:
    """The text that a request wants to be gone on with; "" when it has none."""
    for value in pending.args if pending is not None else ():
        messages = getattr(value, "messages", None)
        if messages:
            return "".join(str(message.get("content") or "") for message in messages)
        prompt = getattr(value, "prompt", None)
        if isinstance(prompt, str):
            return prompt
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], str):
            return str(prompt[0])
    return ""
