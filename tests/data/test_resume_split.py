"""Consumers that stop in the middle of a round, and go on at the exact row."""

import pytest
import ray

from narke.data import streaming_split as split

ROWS = 1003


@ray.remote(num_cpus=0)
def consume(iterator, state, batches):
    """Takes up to so many batches; gives the ids and what is remembered."""
    if state is not None:
        iterator.load_state_dict(state)
    ids = []
    for number, batch in enumerate(iterator.iter_batches(batch_size=37)):
        ids.extend(batch["id"].tolist())
        if number + 1 == batches:
            break
    return ids, iterator.state_dict()


def take(iterators, states, batches):
    found = ray.get([consume.remote(i, s, n) for i, s, n in zip(iterators, states, batches, strict=True)])
    return [ids for ids, _ in found], [state for _, state in found]


@pytest.mark.parametrize("equal", [False, True])
def test_a_round_goes_on_at_the_exact_row(equal):
    ds = ray.data.range(ROWS, override_num_blocks=8).map_batches(lambda b: b)
    seen, states = [], [None] * 3
    for batches in ([2, 5, 1], [1, 1, 3]):
        ids, states = take(ds.streaming_split(3, equal=equal), states, batches)
        seen.extend(i for part in ids for i in part)
        assert len(set(seen)) == len(seen)
    ids, _ = take(ds.streaming_split(3, equal=equal), states, [None] * 3)
    whole = sorted([*seen, *(i for part in ids for i in part)])
    lost = 0 if not equal else 2  # equal shares leave out up to n - 1 rows
    assert len(set(whole)) == len(whole) >= ROWS - lost
    assert not equal or len({len(part) for part in ids}) == 1


def test_a_round_that_is_over_is_followed_by_a_whole_one():
    ds = ray.data.range(100, override_num_blocks=4)
    first = ds.streaming_split(1)[0]
    ids = [i for batch in first.iter_batches() for i in batch["id"]]
    assert ids == list(range(100)) and first.state_dict() == {"spans": [[0, 100]]}
    again = ds.streaming_split(1)[0]
    again.load_state_dict(first.state_dict())
    assert [len(batch["id"]) for batch in again.iter_batches()] == []
    assert sum(len(batch["id"]) for batch in again.iter_batches()) == 100


def test_rows_drawn_from_a_buffer_are_not_remembered():
    iterator = ray.data.range(100).streaming_split(1)[0]
    list(iterator.iter_batches(local_shuffle_buffer_size=10))
    with pytest.raises(RuntimeError, match="local_shuffle_buffer_size"):
        iterator.state_dict()


def test_spans():
    assert split.merged([(5, 7), (0, 2), (2, 3), (6, 9), (4, 4)]) == [(0, 3), (5, 9)]
    assert split._rest((0, 10), [(2, 3), (5, 20)]) == [(0, 2), (3, 5)]
    assert split._rest((3, 5), [(0, 10)]) == [] and split._rest((3, 5), []) == [(3, 5)]
    assert split._within([(10, 13), (20, 25)], 1, 5) == ((11, 13), (20, 22))


def ids_of(iterator):
    return [i for batch in iterator.iter_batches(batch_size=10) for i in batch["id"].tolist()]


def test_whoever_is_quick_begins_the_next_round_before_the_others():
    quick, slow = ray.data.range(100, override_num_blocks=4).streaming_split(2, equal=True)
    started = consume_all.remote(quick, 1)
    later = iter(slow.iter_batches(batch_size=10, prefetch_batches=0))
    begun = next(later)["id"].tolist()
    first = ray.get(started, timeout=60)
    second = ray.get(consume_all.remote(quick, 1), timeout=60)  # `slow` is in its first round still
    rest = [i for batch in later for i in batch["id"].tolist()]
    assert sorted([*first, *begun, *rest]) == list(range(100))
    assert sorted([*second, *ids_of(slow)]) == list(range(100))


@ray.remote(num_cpus=0)
def consume_all(iterator, rounds):
    return [i for _ in range(rounds) for i in ids_of(iterator)]


def test_a_split_that_is_warm_gives_the_same_rows():
    parts = ray.data.range(100, override_num_blocks=4).streaming_split(2, equal=True)
    parts[0].warm_up()
    first, second = ray.get([consume_all.remote(part, 4) for part in parts], timeout=60)
    for at in range(4):
        taken = slice(50 * at, 50 * at + 50)
        assert sorted([*first[taken], *second[taken]]) == list(range(100))


def test_rows_cannot_be_left_out_of_a_round_that_others_have_begun():
    quick, slow = ray.data.range(100, override_num_blocks=4).streaming_split(2, equal=True)
    started = consume_all.remote(quick, 2)
    ids_of(slow)
    ray.get(started, timeout=60)
    slow.load_state_dict({"spans": [[0, 10]]})
    with pytest.raises(RuntimeError, match="load_state_dict came after"):
        ids_of(slow)


def test_errors_of_a_run_that_began_early_reach_who_asks():
    def fail():
        raise ValueError("no blocks")
        yield

    with pytest.raises(ValueError, match="no blocks"):
        list(split.Started(fail()))
    assert list(split.Started(iter([1, 2, 3]))) == [1, 2, 3]
