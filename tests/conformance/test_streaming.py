"""Generators as tasks: results that come one by one."""

import asyncio

import numpy as np
import pytest
import ray
from waiting import hold, mark, marks

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
def identity(value):
    return value


class Failure(Exception):
    pass


class TestStreaming:
    @staticmethod
    @ray.remote
    def count(limit, fail_at=None):
        for i in range(limit):
            if i == fail_at:
                raise Failure("midway")
            yield i

    def test_generator_streams_by_default(self):
        stream = self.count.remote(4)
        assert isinstance(stream, ray.ObjectRefGenerator)
        assert [ray.get(ref) for ref in stream] == [0, 1, 2, 3]
        with pytest.raises(StopIteration):
            next(stream)

    @pytest.mark.parametrize("limit", [0, 1, 200])
    def test_lengths(self, limit):
        stream = self.count.options(num_returns="streaming").remote(limit)
        assert ray.get(list(stream)) == list(range(limit))

    def test_items_come_before_the_end(self, tmp_path):
        @ray.remote
        def produce():
            yield "early"
            hold(tmp_path / "gate")
            yield "late"

        stream = produce.remote()
        assert ray.get(next(stream)) == "early"
        assert not stream.is_finished()
        assert not stream.next_ready()
        (tmp_path / "gate").touch()
        assert ray.get(next(stream)) == "late"

    def test_exception_midway(self):
        stream = self.count.remote(4, fail_at=2)
        assert [ray.get(next(stream)) for _ in range(2)] == [0, 1]
        failed = next(stream)
        with pytest.raises(Failure, match="midway"):
            ray.get(failed)
        with pytest.raises(StopIteration):
            next(stream)

    def test_completed(self):
        stream = self.count.remote(2)
        assert ray.get(list(stream)) == [0, 1]
        assert stream.is_finished()
        ray.get(stream.completed(), timeout=30)

    def test_wait(self):
        stream = self.count.remote(2)
        assert ray.wait([stream], timeout=30) == ([stream], [])

    def test_early_stop(self):
        stream = self.count.remote(1000)
        assert ray.get(next(stream)) == 0
        del stream
        assert ray.get(identity.remote(1)) == 1

    def test_large_items(self):
        @ray.remote
        def arrays():
            for i in range(5):
                yield np.full(200_000, i)

        assert [int(ray.get(ref)[0]) for ref in arrays.remote()] == [0, 1, 2, 3, 4]

    def test_async_for(self):
        async def main():
            return [await ref async for ref in self.count.remote(3)]

        assert asyncio.run(main()) == [0, 1, 2]

    def test_read_by_another_task_item_by_item(self):
        @ray.remote
        def total(refs):
            return sum(ray.get(refs))

        assert ray.get(total.remote(list(self.count.remote(5)))) == 10

    def test_backpressure(self, tmp_path):
        @ray.remote(_generator_backpressure_num_objects=2)
        def produce():
            for i in range(10):
                mark(tmp_path)
                yield i

        stream = produce.remote()
        first = ray.get(next(stream))
        assert len(marks(tmp_path)) < 10
        assert [first] + [ray.get(ref) for ref in stream] == list(range(10))

    def test_dynamic(self):
        ref = self.count.options(num_returns="dynamic").remote(3)
        assert isinstance(ref, ray.ObjectRef)
        assert [ray.get(each) for each in ray.get(ref)] == [0, 1, 2]

    def test_dynamic_that_raises_gives_what_was_yielded_and_then_the_exception(self):
        @ray.remote(num_returns="dynamic")
        def raises(after):
            yield from range(after)
            raise KeyError("late")

        *items, last = ray.get(raises.remote(2))
        assert ray.get(items) == [0, 1]
        with pytest.raises(KeyError, match="late"):
            ray.get(last)
        with pytest.raises(KeyError, match="late"):
            ray.get(raises.remote(0))
