"""Parts of the pool that work without actors."""

import pytest

from narke.util import actor_group
from narke.util.multiprocessing import pool


def test_batches_are_lazy():
    taken = []

    def source():
        for number in range(10):
            taken.append(number)
            yield number

    batches = pool._batches(source())(3)
    assert next(batches) == [0, 1, 2] and taken == [0, 1, 2]
    assert list(batches) == [[3, 4, 5], [6, 7, 8], [9]]


@pytest.mark.parametrize(("a", "b", "expected"), [(0, 3, 0), (1, 3, 1), (3, 3, 1), (4, 3, 2)])
def test_div_round_up(a, b, expected):
    assert pool.div_round_up(a, b) == expected


def test_an_actor_survives_failing_calls():
    actor = pool.PoolActor()
    results = actor.run_batch(int, [(("3",), {}), (("x",), {}), (None, None)])
    assert results[0] == 3 and results[2] == 0
    assert isinstance(results[1], pool.PoolTaskError) and isinstance(results[1].underlying, ValueError)


def test_initializer_runs_once():
    seen = []
    pool.PoolActor(seen.append, (1,))
    pool.PoolActor()
    assert seen == [1]


def test_number_of_processes_is_checked_before_anything_starts():
    with pytest.raises(ValueError, match="must be >0, got 0"):
        pool._checked_processes(0, None)


def test_methods_of_groups_are_not_called_directly():
    with pytest.raises(TypeError, match=r"group\.run\.remote"):
        actor_group.ActorGroupMethod(None, "run")()
