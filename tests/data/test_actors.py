import os

import numpy as np
import pytest
import ray


class Add:
    """Adds what it was built with; leaves a mark each time it is built."""

    def __init__(self, k, folder=None):
        self.k = ray.get(k) if isinstance(k, ray.ObjectRef) else k
        if folder is not None:
            with open(os.path.join(folder, str(os.getpid())), "a") as f:
                f.write("x")

    def __call__(self, batch):
        return {"v": batch["id"] + self.k}


def values(ds):
    return [r["v"] for r in ds.take_all()]


@pytest.mark.parametrize("concurrency", [1, 2, (1, 3)])
def test_a_class_is_built_once_in_each_actor(tmp_path, concurrency):
    ds = ray.data.range(200, override_num_blocks=10)
    got = ds.map_batches(Add, fn_constructor_args=(5, str(tmp_path)), concurrency=concurrency, batch_size=10)
    assert sorted(values(got)) == list(range(5, 205))
    built = [(tmp_path / name).read_text() for name in os.listdir(tmp_path)]
    assert set(built) == {"x"}
    assert 1 <= len(built) <= (concurrency if isinstance(concurrency, int) else concurrency[1])


def test_actor_pool_strategy():
    ds = ray.data.range(50).map_batches(
        Add, fn_constructor_kwargs={"k": 1}, compute=ray.data.ActorPoolStrategy(min_size=1, max_size=2)
    )
    assert sorted(values(ds)) == list(range(1, 51))


def test_a_reference_among_the_constructors_arguments_stays_one():
    ds = ray.data.range(10).map_batches(Add, fn_constructor_args=[ray.put(7)], concurrency=1)
    assert sorted(values(ds)) == list(range(7, 17))


def test_order_is_kept_in_a_pool():
    ds = ray.data.range(500, override_num_blocks=20).map_batches(Add, fn_constructor_args=(0,), concurrency=3)
    assert sorted(values(ds)) == list(range(500))


def test_batches_are_filled_across_small_blocks():
    class Size:
        def __call__(self, batch):
            return {"n": np.array([len(batch["id"])])}

    ds = ray.data.range(100, override_num_blocks=20).materialize()
    sizes = [r["n"] for r in ds.map_batches(Size, batch_size=50, concurrency=1).take_all()]
    assert sum(sizes) == 100
    assert max(sizes) == 50


def test_rows_and_filters_by_a_class():
    class Odd:
        def __call__(self, row):
            return row["id"] % 2 == 1

    class Square:
        def __call__(self, row):
            return {"v": row["id"] ** 2}

    ds = ray.data.range(10).filter(Odd, concurrency=1).map(Square, concurrency=1)
    assert sorted(values(ds)) == [1, 9, 25, 49, 81]


def test_two_pools_one_after_another():
    ds = ray.data.range(100, override_num_blocks=5).map_batches(Add, fn_constructor_args=(1,), concurrency=1)
    ds = ds.map_batches(lambda b: {"id": b["v"]}).map_batches(Add, fn_constructor_args=(1,), concurrency=1)
    assert sorted(values(ds)) == list(range(2, 102))


def test_actors_may_hold_fractions_of_a_cpu():
    ds = ray.data.range(100).map_batches(Add, fn_constructor_args=(0,), concurrency=4, num_cpus=0.5)
    assert sorted(values(ds)) == list(range(100))


def test_an_async_class():
    class Later:
        async def __call__(self, batch):
            yield {"v": batch["id"] * 2}

    assert sorted(values(ray.data.range(5).map_batches(Later, concurrency=1))) == [0, 2, 4, 6, 8]


def test_an_error_in_the_constructor_reaches_the_caller():
    class Broken:
        def __init__(self):
            raise RuntimeError("cannot be built")

        def __call__(self, batch):
            return batch

    with pytest.raises(Exception, match="cannot be built"):
        ray.data.range(5).map_batches(Broken, concurrency=1).take_all()


def test_an_error_in_a_call_reaches_the_caller():
    class Fails:
        def __call__(self, batch):
            raise RuntimeError("cannot be called")

    with pytest.raises(Exception, match="cannot be called"):
        ray.data.range(5).map_batches(Fails, concurrency=1).take_all()


def test_a_class_needs_actors():
    with pytest.raises((ValueError, TypeError)):
        ray.data.range(5).map_batches(
            Add, fn_constructor_args=(1,), compute=ray.data.TaskPoolStrategy(2)
        ).take_all()


def test_constructor_arguments_are_for_classes():
    with pytest.raises(ValueError):
        ray.data.range(5).map_batches(lambda b: b, fn_constructor_args=(1,))


def test_task_pool_strategy_bounds_the_tasks():
    ds = ray.data.range(40, override_num_blocks=8).map_batches(
        lambda b: b, compute=ray.data.TaskPoolStrategy(2)
    )
    assert ds.count() == 40
