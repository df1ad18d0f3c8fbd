"""Values that nobody uses go, though they may be needed to make others again; then they come back."""

import numpy as np
import pytest
from waiting import mark, marks

import narke
from narke._private.testing import drop_object

SIZE = 200_000  # values of 1.6 MB: in the store


@pytest.fixture
def grown(tmp_path):
    """A task that adds one, and says that it ran."""

    @narke.remote
    def grow(values):
        mark(tmp_path)
        return values + 1

    return grow


def ready(ref):
    assert narke.wait([ref], timeout=60) == ([ref], [])
    return ref


def chain(task, length):
    ref = narke.put(np.zeros(SIZE))
    for _ in range(length):
        ref = task.remote(ref)
    return ready(ref)


CHAIN = """
import pathlib, numpy as np, narke
context = narke.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
grow = narke.remote(lambda values: values + 1)
ref = narke.put(np.zeros(1_000_000))
for _ in range(60):
    ref = grow.remote(ref)
print("last", narke.get(ref, timeout=60)[0])
print("spilled", list(pathlib.Path(context.address_info["session_dir"]).rglob("*.spill")))
"""


def test_one_value_made_of_the_other_keeps_one_of_them(start):
    driver = start(CHAIN)
    assert driver.said("last", timeout_s=60) == "60.0"
    assert driver.said("spilled") == "[]"


@pytest.mark.usefixtures("cluster")
class TestComingBack:
    def test_all_that_is_needed_runs_again_once(self, grown, tmp_path):
        last = chain(grown, 5)
        drop_object(last)
        assert narke.get(last, timeout=30)[0] == 5
        assert len(marks(tmp_path)) == 10

    def test_a_long_chain(self):
        last = chain(narke.remote(lambda values: values + 1), 2000)
        drop_object(last)
        assert narke.get(last, timeout=60)[0] == 2000

    def test_what_somebody_still_has_is_not_made_again(self, grown, tmp_path):
        middle = chain(grown, 3)
        last = ready(grown.remote(middle))
        drop_object(last)
        assert narke.get(last, timeout=30)[0] == 4
        assert narke.get(middle)[0] == 3
        assert len(marks(tmp_path)) == 5

    def test_one_of_several_returns(self, grown):
        @narke.remote(num_returns=2)
        def pair():
            return np.ones(SIZE), np.full(SIZE, 5.0)

        one, five = pair.remote()
        last = ready(grown.remote(one))
        del one
        drop_object(last)
        assert narke.get(last, timeout=30)[0] == 2
        assert narke.get(five, timeout=30)[0] == 5

    def test_what_comes_back_with_another_is_there_when_it_is_needed(self, tmp_path):
        @narke.remote(num_returns=2)
        def pair():
            mark(tmp_path)
            return np.ones(SIZE), np.full(SIZE, 5.0)

        grow = narke.remote(lambda values: values + 1)
        both = [ready(grow.remote(ref)) for ref in pair.remote()]
        for ref in both:
            drop_object(ref)
        assert [narke.get(ref, timeout=30)[0] for ref in both] == [2, 6]
        assert len(marks(tmp_path)) == 2

    def test_an_item_of_a_generator(self, grown):
        @narke.remote(num_returns="streaming")
        def stream():
            for value in range(4):
                yield np.full(SIZE, float(value))

        items = list(stream.remote())
        last = ready(grown.remote(items.pop(2)))
        drop_object(last)
        assert narke.get(last, timeout=30)[0] == 3
        assert [narke.get(item, timeout=30)[0] for item in items] == [0, 1, 3]

    def test_a_reference_inside_an_argument(self, grown):
        @narke.remote
        def of_inside(refs):
            return narke.get(refs[0]) * 2

        inside = chain(grown, 2)
        last = ready(of_inside.remote([inside]))
        del inside
        drop_object(last)
        assert narke.get(last, timeout=30)[0] == 4

    def test_two_values_that_need_the_same(self, grown, tmp_path):
        base = chain(grown, 1)
        both = [grown.remote(base), grown.remote(base)]
        del base
        for ref in both:
            drop_object(ready(ref))
        assert [values[0] for values in narke.get(both, timeout=30)] == [2, 2]
        assert 6 <= len(marks(tmp_path)) <= 7  # the base once more, or once more for each of them


@pytest.mark.usefixtures("cluster")
class TestStaying:
    def test_what_may_not_run_again_stays(self, grown, tmp_path):
        made = grown.options(max_retries=0).remote(np.zeros(SIZE))
        last = ready(grown.remote(made))
        del made
        drop_object(last)
        assert narke.get(last, timeout=30)[0] == 2
        assert len(marks(tmp_path)) == 3

    def test_what_has_run_for_the_last_time_stays(self, grown, tmp_path):
        made = grown.options(max_retries=1).remote(np.zeros(SIZE))
        last = ready(grown.remote(made))
        del made
        for _ in range(3):
            drop_object(last)
            assert narke.get(last, timeout=30)[0] == 2
        assert len(marks(tmp_path)) == 2 + 1 + 3

    def test_an_error_on_the_way_back_is_the_error_of_all(self, tmp_path):
        @narke.remote
        def once():
            mark(tmp_path)
            if len(marks(tmp_path)) > 1:
                raise ValueError("not twice")
            return np.zeros(SIZE)

        last = ready(narke.remote(lambda values: values + 1).remote(once.remote()))
        drop_object(last)
        with pytest.raises(ValueError, match="not twice"):
            narke.get(last, timeout=30)


@pytest.mark.usefixtures("cluster")
def test_a_long_chain_fails_as_one():
    @narke.remote
    def bad():
        raise ValueError("the first")

    same = narke.remote(lambda value: value)
    ref = bad.remote()
    for _ in range(50_000):
        ref = same.remote(ref)
    with pytest.raises(ValueError, match="the first"):
        narke.get(ref, timeout=60)
