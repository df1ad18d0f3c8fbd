"""One run of a dataset shared out among several consumers, by an actor that holds the run."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import narke
from narke.data import exchange
from narke.data.execute import tasks
from narke.data.execute.operators import described_bundle
from narke.data.iterator import DataIterator
from narke.data.plan import Bundle

if TYPE_CHECKING:
    from narke.data.dataset import Dataset

TURN_S = 60.0


class Shares:
    """Blocks for each of n consumers: whoever asks gets the next; when equal, each gets its share of every block."""

    def __init__(self, bundles: Iterator[Bundle], n: int, equal: bool):
        self._bundles, self._n, self._equal = bundles, n, equal
        self._queues: list[deque[Bundle]] = [deque() for _ in range(n)]
        self._left: list[Bundle] = []

    def next(self, split: int) -> Bundle | None:
        """The next block of a consumer; None when there are no more."""
        if not self._equal:
            return next(self._bundles, None)
        while not self._queues[split]:
            bundle = next(self._bundles, None)
            if bundle is None:
                return None
            self._deal(bundle)
        return self._queues[split].popleft()

    def _deal(self, bundle: Bundle) -> None:
        """Cut what is left over and the bundle into n equal parts; fewer than n rows are kept for the next."""
        held = [b for b in [*self._left, bundle] if b.rows]
        total = sum(b.rows for b in held)
        each = total // self._n
        edges = [each * i for i in range(self._n + 1)]
        made = _run_slices(held, edges if each * self._n == total else [*edges, total]) if total else []
        if each == 0:
            self._left = made[-1:]
            return
        for queue, part in zip(self._queues, made, strict=False):
            queue.append(part)
        self._left = made[self._n :]


def _run_slices(bundles: list[Bundle], edges: list[int]) -> list[Bundle]:
    run = tasks.remote(tasks.run_slices, {"num_returns": "streaming", "num_cpus": 0})
    generators = [run.remote(*work.args) for work in exchange.slices(bundles, edges)]
    return [described_bundle(next(g), g)[0] for g in generators]


class SplitCoordinator:
    """The actor that runs the dataset, one round after another; each consumer's calls run in a thread of their own."""

    def __init__(self, dataset: Dataset, n: int, equal: bool):
        self._dataset, self._n, self._equal = dataset, n, equal
        self._changed = threading.Condition()
        self._round = -1
        self._begun: set[int] = set()
        self._shares: Shares | None = None

    def begin(self, split: int) -> int:
        """A consumer begins a round: waits until all have, and gives the round's number; -1 after `TURN_S` seconds."""
        with self._changed:
            wanted = self._round + 1
            self._begun.add(split)
            if len(self._begun) == self._n:
                self._begun.clear()
                self._round = wanted
                self._shares = Shares(self._dataset._bundles(), self._n, self._equal)
                self._changed.notify_all()
            return wanted if self._changed.wait_for(lambda: self._round >= wanted, TURN_S) else -1

    def next(self, split: int, number: int) -> Bundle | None:
        """The next block of a consumer in a round; None at its end."""
        with self._changed:
            if number != self._round or self._shares is None:
                raise RuntimeError(f"round {number} of this split is over; round {self._round} has begun")
            return self._shares.next(split)

    def schema(self) -> Any:
        """Names and types of columns."""
        return self._dataset.schema()

    def stats(self) -> str:
        """What each operator did in the last round."""
        return self._dataset.stats()


class SplitIterator(DataIterator):
    """One consumer's iterator; may be sent to a task or an actor."""

    def __init__(self, coordinator: Any, split: int, context: Any):
        self._coordinator, self._split, self._context = coordinator, split, context

    def _bundles(self) -> Iterator[Bundle]:
        number = -1
        while number < 0:  # no call lasts for ever; the others may take as long as they like
            number = narke.get(self._coordinator.begin.remote(self._split))
        while (bundle := narke.get(self._coordinator.next.remote(self._split, number))) is not None:
            yield bundle

    def schema(self) -> Any:
        return narke.get(self._coordinator.schema.remote())

    def stats(self) -> str:
        return narke.get(self._coordinator.stats.remote())

    def get_context(self) -> Any:
        return self._context

    def materialize(self) -> Any:
        """The rows of this consumer's next round, as a dataset; all consumers must take part in it."""
        from narke.data.dataset import MaterializedDataset
        from narke.data.plan import Blocks

        return MaterializedDataset(Blocks((), tuple(self._bundles())), self._context.copy())


def split_iterators(dataset: Dataset, n: int, equal: bool) -> list[SplitIterator]:
    """n iterators over one run of the dataset."""
    actor = narke.remote(SplitCoordinator).options(num_cpus=0, max_concurrency=n + 1, placement_group=None)
    coordinator = actor.remote(dataset, n, equal)
    return [SplitIterator(coordinator, split, dataset.context) for split in range(n)]
