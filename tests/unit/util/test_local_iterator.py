"""Local iterators over plain lists: no cluster takes part."""

import pytest

from narke.util.iter import LocalIterator, ParallelIteratorWorker
from narke.util.iter_metrics import MetricsContext, SharedMetrics


def local(items, name="items"):
    return LocalIterator(lambda timeout: iter(items), SharedMetrics(), name=name)


def test_stages():
    it = local(range(10)).for_each(lambda x: x * 2).filter(lambda x: x % 3).batch(2)
    assert list(it) == [[2, 4], [8, 10], [14, 16]]
    assert list(local(range(5)).batch(2).flatten()) == [0, 1, 2, 3, 4]
    assert list(local([1, 2]).combine(lambda x: [x] * x)) == [1, 2, 2]
    assert list(local(range(6)).transform(lambda items: (x for x in items if x > 3))) == [4, 5]
    assert local(range(9)).take(3) == [0, 1, 2]


def test_taking_leaves_the_rest():
    it = local(range(5))
    assert it.take(2) == [0, 1]
    assert list(it) == [2, 3, 4]


def test_stages_do_not_change_their_source():
    source = local(range(3))
    source.for_each(lambda x: -x)
    assert list(source) == [0, 1, 2]


def test_shuffle_is_seeded_and_complete():
    first = list(local(range(20)).shuffle(5, seed=1))
    assert first == list(local(range(20)).shuffle(5, seed=1))
    assert first != list(range(20)) and sorted(first) == list(range(20))


def test_show(capsys):
    local("abc").show(2)
    assert capsys.readouterr().out == "a\nb\n"


def test_duplicates_each_see_everything():
    first, second = local(range(4)).duplicate(2)
    assert first.take(2) == [0, 1]
    assert list(second) == [0, 1, 2, 3]
    assert list(first) == [2, 3]
    with pytest.raises(ValueError, match=">= 2"):
        local([]).duplicate(1)


def test_union_in_turn():
    assert list(local([1, 2, 3]).union(local([10]), deterministic=True)) == [1, 10, 2, 3]
    assert sorted(local([1, 2]).union(local([3]), local([4]))) == [1, 2, 3, 4]
    weighted = local([1, 2, 3, 4]).union(local([10, 20]), round_robin_weights=[2, 1])
    assert list(weighted) == [1, 2, 10, 3, 4, 20]
    assert sorted(local([1, 2]).union(local([3, 4]), round_robin_weights=[1, "*"])) == [1, 2, 3, 4]


def test_union_of_duplicates_does_not_run_ahead():
    first, second = local(range(3)).duplicate(2)
    assert sorted(first.union(second.for_each(lambda x: x + 10))) == [0, 1, 2, 10, 11, 12]


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: local([]).union([1]), "LocalIterator"),
        (lambda: local([]).union(local([]), round_robin_weights=[1]), "1 weights for 2"),
        (lambda: local([]).for_each(abs, max_concurrency=-1), "negative"),
        (lambda: LocalIterator.get_metrics(), "inside a function"),
    ],
)
def test_refused(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_metrics_belong_to_the_iterator_that_runs():
    def count(item):
        LocalIterator.get_metrics().counters["seen"] += 1
        return item

    inner = local(range(3)).for_each(count)
    merged = inner.union(local(range(2)).for_each(count))
    assert len(list(merged)) == 5
    assert merged.shared_metrics.get().counters["seen"] == 5
    assert inner.shared_metrics.get() is merged.shared_metrics.get()


def test_metrics_are_saved_and_restored():
    metrics = MetricsContext()
    metrics.counters["a"] = 2
    metrics.info["b"] = 3
    copy = MetricsContext()
    copy.restore(metrics.save())
    assert copy.counters["a"] == 2 and copy.info == {"b": 3} and copy.counters["new"] == 0


def test_hook_runs_before_each_fetch():
    class Stage:
        fetches = 0

        def _on_fetch_start(self):
            self.fetches += 1

        def __call__(self, item):
            return item, self.fetches

    assert list(local("ab").for_each(Stage())) == [("a", 1), ("b", 2)]


def test_names_tell_the_stages():
    assert repr(local([], name="x").for_each(abs).batch(2)) == "LocalIterator[x.for_each().batch(2)]"


def test_worker_slices_deal_items_out():
    worker = ParallelIteratorWorker(range(8), repeat=False)
    worker.par_iter_init([lambda shard: shard.for_each(lambda x: x + 100)])
    assert worker.par_iter_slice_batch(3, 1, 0) == [101]
    assert worker.par_iter_slice_batch(3, 0, 0) == [100]
    assert worker.par_iter_slice_batch(3, 0, 0) == [103]
    assert [worker.par_iter_slice(3, 2) for _ in range(2)] == [102, 105]
    assert worker.par_iter_slice_batch(3, 2, 0) == []


def test_worker_repeats_and_ends():
    worker = ParallelIteratorWorker(lambda: iter("ab"), repeat=True)
    with pytest.raises(RuntimeError, match="par_iter_init"):
        worker.par_iter_next()
    worker.par_iter_init([])
    assert [worker.par_iter_next() for _ in range(5)] == list("ababa")
    ends = ParallelIteratorWorker("a", repeat=False)
    ends.par_iter_init([])
    assert ends.par_iter_next_batch(0) == ["a"]
    assert ends.par_iter_next_batch(0) == []
    never = ParallelIteratorWorker([], repeat=True)
    never.par_iter_init([])
    with pytest.raises(ValueError, match="yields items"):
        never.par_iter_next()
