"""One run of a dataset shared out among several consumers, by an actor that holds the run."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import narke
from narke._private import preloads
from narke.data import exchange
from narke.data.execute import tasks
from narke.data.execute.operators import described_bundle
from narke.data.iterator import Again, DataIterator
from narke.data.plan import Bundle

if TYPE_CHECKING:
    from narke.data.dataset import Dataset

TURN_S = 60.0


Span = tuple[int, int]  # rows from the first to before the second, numbered through the whole dataset


class Part(NamedTuple):
    """A block of one consumer, and which rows of the dataset it holds."""

    bundle: Bundle
    spans: tuple[Span, ...]


class Shares:
    """Blocks for each of n consumers: whoever asks gets the next; when equal, each gets its share of every block.

    Args:
        done: rows that consumers have had in an earlier run of the same dataset; they are left out.
    """

    def __init__(self, bundles: Iterator[Bundle], n: int, equal: bool, done: Iterable[Span] = ()):
        self._bundles, self._n, self._equal = bundles, n, equal
        self._done = merged(done)
        self._row = 0
        self._waiting: deque[Part] = deque()
        self._queues: list[deque[Part]] = [deque() for _ in range(n)]
        self._left: list[Part] = []

    def next(self, split: int) -> Part | None:
        """The next block of a consumer; None when there are no more."""
        if not self._equal:
            return self._next_part()
        while not self._queues[split]:
            part = self._next_part()
            if part is None:
                return None
            self._deal(part)
        return self._queues[split].popleft()

    def _next_part(self) -> Part | None:
        """The next rows that nobody has had."""
        while not self._waiting:
            bundle = next(self._bundles, None)
            if bundle is None:
                return None
            if not bundle.rows:
                return Part(bundle, ())
            start, self._row = self._row, self._row + bundle.rows
            wanted = _rest((start, self._row), self._done)
            if wanted == [(start, self._row)]:
                return Part(bundle, ((start, self._row),))
            self._waiting.extend(_cut(bundle, start, wanted))
        return self._waiting.popleft()

    def _deal(self, part: Part) -> None:
        """Cut what is left over and the part into n equal ones; fewer than n rows are kept for the next."""
        held = [p for p in [*self._left, part] if p.bundle.rows]
        total = sum(p.bundle.rows for p in held)
        if not total:
            return
        each = total // self._n
        edges = [each * i for i in range(self._n + 1)]
        cuts = edges if each * self._n == total else [*edges, total]
        made = _run_slices([p.bundle for p in held], cuts)
        spans = [span for p in held for span in p.spans]
        pairs = zip(cuts[:-1], cuts[1:], strict=True)
        parts = [Part(b, _within(spans, low, high)) for b, (low, high) in zip(made, pairs, strict=True)]
        if each == 0:
            self._left = parts[-1:]
            return
        for queue, own in zip(self._queues, parts, strict=False):
            queue.append(own)
        self._left = parts[self._n :]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same rows in as few spans as possible, in order."""
    made: list[Span] = []
    for start, end in sorted((int(a), int(b)) for a, b in spans if a < b):
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(end, made[-1][1]))
        else:
            made.append((start, end))
    return made


def _rest(span: Span, done: list[Span]) -> list[Span]:
    """The parts of a span that are in none of some spans in order."""
    made, (start, end) = [], span
    for low, high in done:
        if high > start and low < end:
            if low > start:
                made.append((start, low))
            start = max(start, high)
    return [*made, (start, end)] if start < end else made


def _within(spans: list[Span], low: int, high: int) -> tuple[Span, ...]:
    """The rows that stand from place `low` to before `high` in a row of spans."""
    made, place = [], 0
    for start, end in spans:
        first, last = max(low, place), min(high, place + end - start)
        if first < last:
            made.append((start + first - place, start + last - place))
        place += end - start
    return tuple(made)


def _cut(bundle: Bundle, start: int, wanted: list[Span]) -> list[Part]:
    """Some rows of a bundle, whose first has a number, as parts."""
    run = tasks.remote(tasks.run_slices, {"num_returns": "streaming", "num_cpus": 0})
    generators = [run.remote(0, [(low - start, high - start)], bundle.ref) for low, high in wanted]
    return [
        Part(described_bundle(next(g), g)[0], (span,)) for g, span in zip(generators, wanted, strict=True)
    ]


def _run_slices(bundles: list[Bundle], edges: list[int]) -> list[Bundle]:
    run = tasks.remote(tasks.run_slices, {"num_returns": "streaming", "num_cpus": 0})
    generators = [run.remote(*work.args) for work in exchange.slices(bundles, edges)]
    return [described_bundle(next(g), g)[0] for g in generators]


class Started:
    """The blocks of a run; the first of them is being made already.

    Args:
        bundles: the run's, which nobody has asked yet.
    """

    def __init__(self, bundles: Iterator[Bundle]):
        self._bundles = bundles
        self._first: list[Bundle] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._begin, name="narke-data-first", daemon=True)
        self._thread.start()

    def _begin(self) -> None:
        try:
            self._first.extend(itertools.islice(self._bundles, 1))
        except BaseException as error:  # noqa: B902  # handed to the thread that iterates
            self._error = error

    def __iter__(self) -> Iterator[Bundle]:
        self._thread.join()  # ends with the first block, as the first `next` of the run would
        if self._error is not None:
            raise self._error
        return itertools.chain(self._first, self._bundles)


class SplitCoordinator:
    """The actor that runs the dataset, one round after another; each consumer's calls run in a thread of their own.

    The first round begins when all consumers have come. With equal shares later ones begin with the first that comes,
    who may be a round ahead of the others: whoever is quick need not wait for the slowest.
    """

    def __init__(self, dataset: Dataset, n: int, equal: bool):
        self._dataset, self._n, self._equal = dataset, n, equal
        self._changed = threading.Condition()
        self._rounds: dict[int, Shares] = {}
        self._at = [-1] * n  # the round of each consumer
        self._waiting: set[int] = set()
        self._done: list[Span] = []
        self._is_warm = False
        self._next: Started | None = None  # the round that nobody has begun yet

    def warm_up(self) -> None:
        """Run before being asked: the first round now, and those after the second when the one before is over."""
        with self._changed:
            self._is_warm = True
            if not self._rounds:
                self._run_ahead()

    def _run_ahead(self) -> None:
        if self._next is None:
            self._next = Started(self._dataset._bundles())

    def begin(self, split: int, done: Iterable[Span] = ()) -> int:
        """A consumer begins a round: waits until it may, and gives the round's number; -1 after `TURN_S` seconds.

        `done` are rows that it has had in an earlier run; the round leaves out what any consumer has had.

        Raises:
            RuntimeError: rows are to be left out of a round that others have begun already.
        """
        with self._changed:
            wanted, done = self._at[split] + 1, list(done)
            if done and wanted in self._rounds:
                raise RuntimeError(
                    "load_state_dict came after other consumers of this split had begun the round: give all of them "
                    "their states before any goes on"
                )
            self._done.extend(done)
            self._waiting.add(split)
            self._changed.notify_all()  # this may be the one that others wait for
            if not self._changed.wait_for(lambda: self._is_open(wanted), TURN_S):
                return -1
            self._waiting.discard(split)
            self._at[split] = wanted
            for number in [number for number in self._rounds if number < min(self._at)]:
                del self._rounds[number]
            self._changed.notify_all()
            return wanted

    def _is_open(self, number: int) -> bool:
        """Whether a round has begun; begins it if it may."""
        if number not in self._rounds and self._may_open(number):
            bundles = iter(self._next) if self._next is not None else self._dataset._bundles()
            self._next, done, self._done = None, self._done, []
            self._rounds[number] = Shares(bundles, self._n, self._equal, done)
        return number in self._rounds

    def _may_open(self, number: int) -> bool:
        if self._equal and number > 0 and not self._done:
            return min(self._at) >= number - 1
        here = [split for split in range(self._n) if split in self._waiting and self._at[split] == number - 1]
        return len(here) == self._n

    def next(self, split: int, number: int) -> Part | None:
        """The next block of a consumer in a round; None at its end."""
        with self._changed:
            if number != self._at[split] or number not in self._rounds:
                raise RuntimeError(f"round {number} of this split is over; round {self._at[split]} has begun")
            part = self._rounds[number].next(split)
            if part is None and self._is_warm and number == max(self._rounds) > 0:
                self._run_ahead()
            return part

    def schema(self) -> Any:
        """Names and types of columns."""
        return self._dataset.schema()

    def stats(self) -> str:
        """What each operator did in the last round."""
        return self._dataset.stats()


class StreamSplitDataIterator(DataIterator):
    """One consumer's iterator; may be sent to a task or an actor.

    `state_dict` says which rows its user has been given; an iterator of another split of the same dataset that is given
    it by `load_state_dict` goes on after them, if all of its consumers are given theirs. The dataset must give the same
    rows in the same order again, so random operators need seeds.
    """

    def __init__(self, coordinator: Any, split: int, context: Any):
        self._coordinator, self._split, self._context = coordinator, split, context
        self._had: list[Span] = []
        self._given: list[Span] = []

    def _bundles(self) -> Iterator[Bundle]:
        self._had, done = [], self._had
        self._given = list(done)
        number = -1
        while number < 0:  # no call lasts for ever; the others may take as long as they like
            number = narke.get(self._coordinator.begin.remote(self._split, done))
            done = []
        while (part := narke.get(self._coordinator.next.remote(self._split, number))) is not None:
            self._given.extend(part.spans)
            yield part.bundle

    def _batches(
        self, depth: int, size: int | None, form: str | None, drop_last: bool, shuffle: tuple[Any, Any]
    ) -> Any:
        plain = super()._batches(depth, size, form, drop_last, shuffle)
        return Again(lambda: self._counted(plain, bool(shuffle[0])))

    def _counted(self, batches: Any, mixed: bool) -> Iterator[Any]:
        """The batches; counts their rows as they are taken."""
        self._rows: int | None = None if mixed else 0
        self._before = sum(end - start for start, end in self._had)
        for batch in batches:
            if self._rows is not None:
                self._rows += _length(batch)
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Which rows the batches of this round have held so far: {"spans": [[first, end], ...]}.

        Raises:
            RuntimeError: rows were drawn at random from a buffer, so that those that were given are no span.
        """
        rows = getattr(self, "_rows", 0)
        if rows is None:
            raise RuntimeError(
                "with local_shuffle_buffer_size nobody knows which rows were given: shuffle the dataset"
            )
        spans = _within(self._given, 0, getattr(self, "_before", 0) + rows)
        return {"spans": [list(span) for span in merged(spans)]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Begin the next round after the rows that `state_dict` of an earlier iterator named."""
        self._had = merged((start, end) for start, end in state["spans"])

    def warm_up(self) -> None:
        """Have the run begun before a consumer asks for it: its first blocks are made at once.

        The rounds after the second begin when the one before has been given out, without anybody asking; what the last
        of them made is thrown away with the split.
        """
        self._coordinator.warm_up.remote()

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


def _length(batch: Any) -> int:
    """Rows of a batch of any form."""
    return len(next(iter(batch.values()), ())) if isinstance(batch, dict) else len(batch)


def split_iterators(dataset: Dataset, n: int, equal: bool) -> list[StreamSplitDataIterator]:
    """n iterators over one run of the dataset."""
    actor = narke.remote(SplitCoordinator).options(
        num_cpus=0, max_concurrency=n + 1, placement_group=None, _preload=preloads.DATA
    )
    coordinator = actor.remote(dataset, n, equal)
    return [StreamSplitDataIterator(coordinator, split, dataset.context) for split in range(n)]
