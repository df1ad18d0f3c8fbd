"""The tools beside the core: pools, queues, metrics, and looking into what does not pickle."""

import asyncio
import collections
import threading

import joblib
import pytest
import ray
from ray.experimental import tqdm_ray
from ray.util import ActorPool, inspect_serializability
from ray.util.joblib import register_ray
from ray.util.metrics import Counter, Gauge, Histogram
from ray.util.multiprocessing import Pool
from ray.util.queue import Empty, Full, Queue

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote(num_cpus=0)
class Doubler:
    def double(self, value):
        if value == "bad":
            raise ValueError("cannot double")
        return 2 * value


def double(actor, value):
    return actor.double.remote(value)


class TestActorPool:
    @pytest.fixture
    def pool(self):
        return ActorPool([Doubler.remote() for _ in range(2)])

    def test_map_keeps_order(self, pool):
        assert list(pool.map(double, range(10))) == list(range(0, 20, 2))

    def test_map_unordered(self, pool):
        assert sorted(pool.map_unordered(double, range(10))) == list(range(0, 20, 2))

    def test_submit_and_get_next(self, pool):
        assert pool.has_free() and not pool.has_next()
        for value in range(3):
            pool.submit(double, value)
        assert not pool.has_free() and pool.has_next()
        assert [pool.get_next() for _ in range(3)] == [0, 2, 4]
        with pytest.raises(StopIteration):
            pool.get_next()

    def test_get_next_unordered(self, pool):
        for value in range(4):
            pool.submit(double, value)
        assert {pool.get_next_unordered(timeout=30) for _ in range(4)} == {0, 2, 4, 6}

    def test_failure_reaches_the_caller(self, pool):
        with pytest.raises(ValueError, match="cannot double"):
            list(pool.map(double, ["bad"]))

    def test_push_and_pop(self, pool):
        assert isinstance(pool.pop_idle(), ray.actor.ActorHandle)
        other = Doubler.remote()
        pool.push(other)
        with pytest.raises(ValueError):
            pool.push(other)
        assert list(pool.map(double, range(4))) == [0, 2, 4, 6]


class TestQueue:
    @pytest.fixture
    def queue(self):
        queue = Queue(maxsize=2, actor_options={"num_cpus": 0})
        yield queue
        queue.shutdown(force=True)

    def test_first_in_first_out(self, queue):
        queue.put(1)
        queue.put("two")
        assert (queue.qsize(), len(queue), queue.full(), queue.empty()) == (2, 2, True, False)
        assert [queue.get(), queue.get()] == [1, "two"]
        assert queue.empty()

    def test_full(self, queue):
        queue.put_nowait_batch([1, 2])
        for refused in (
            lambda: queue.put_nowait(3),
            lambda: queue.put(3, timeout=0.1),
            lambda: queue.put_nowait_batch([3]),
        ):
            with pytest.raises(Full):
                refused()
        assert queue.get_nowait_batch(2) == [1, 2]

    def test_empty(self, queue):
        for refused in (queue.get_nowait, lambda: queue.get(timeout=0.1), lambda: queue.get_nowait_batch(1)):
            with pytest.raises(Empty):
                refused()

    @pytest.mark.parametrize(
        "call", [lambda queue: queue.get(timeout=-1), lambda queue: queue.put(1, timeout=-1)]
    )
    def test_negative_timeout(self, queue, call):
        with pytest.raises(ValueError, match="non-negative"):
            call(queue)

    def test_between_tasks(self, queue):
        @ray.remote(num_cpus=0)
        def produce(queue):
            for i in range(10):
                queue.put(i)

        produced = produce.remote(queue)
        assert [queue.get(timeout=60) for _ in range(10)] == list(range(10))
        ray.get(produced)

    def test_asynchronous(self, queue):
        async def main():
            await queue.put_async("value")
            return await queue.get_async()

        assert asyncio.run(main()) == "value"

    def test_unbounded(self):
        queue = Queue(actor_options={"num_cpus": 0})
        queue.put_nowait_batch(list(range(100)))
        assert queue.qsize() == 100
        queue.shutdown()


def square(value):
    return value * value


@pytest.fixture(scope="class")
def processes(cluster):
    """A multiprocessing pool of two."""
    with Pool(processes=2) as pool:
        yield pool
    pool.join()


class TestPool:
    @pytest.fixture
    def pool(self, processes):
        return processes

    def test_apply(self, pool):
        assert pool.apply(square, (3,)) == 9
        assert pool.apply_async(square, kwargs={"value": 4}).get(timeout=60) == 16

    def test_map(self, pool):
        assert pool.map(square, range(20)) == [i * i for i in range(20)]
        assert pool.map_async(square, range(5), chunksize=2).get(timeout=60) == [0, 1, 4, 9, 16]

    def test_imap(self, pool):
        assert list(pool.imap(square, range(10), chunksize=3)) == [i * i for i in range(10)]
        assert sorted(pool.imap_unordered(square, range(10), chunksize=3)) == [i * i for i in range(10)]

    def test_starmap(self, pool):
        assert pool.starmap(pow, [(2, 3), (3, 2)]) == [8, 9]

    def test_callbacks(self, pool):
        results, called = [], threading.Event()

        def note(value):
            results.append(value)
            called.set()

        pool.apply_async(square, (5,), callback=note).wait(60)
        assert called.wait(60) and results == [25]

    def test_failure(self, pool):
        with pytest.raises(TypeError):
            pool.map(square, ["text"])
        result = pool.apply_async(square, ("text",))
        result.wait(60)
        assert result.ready() and not result.successful()

    def test_initializer(self, cluster):
        with Pool(processes=1, initializer=setattr, initargs=(collections, "set_by_test", 7)) as pool:
            assert pool.apply(lambda: collections.set_by_test) == 7

    def test_closed_pool_refuses(self, cluster):
        pool = Pool(processes=1)
        pool.close()
        with pytest.raises(ValueError):
            pool.apply(square, (1,))
        pool.join()


def test_joblib_backend():
    register_ray()
    with joblib.parallel_backend("ray", n_jobs=2):
        assert joblib.Parallel()(joblib.delayed(square)(i) for i in range(20)) == [i * i for i in range(20)]


class Holder:
    def __init__(self):
        self.lock = threading.Lock()


class TestInspectSerializability:
    def test_good(self, capsys):
        assert inspect_serializability([1], name="fine") == (True, set())

    def test_attribute_is_named(self, capsys):
        good, failures = inspect_serializability(Holder(), name="holder")
        assert good is False
        assert any("FailTuple(lock" in repr(failure) for failure in failures)
        assert "FAIL serialization: cannot pickle" in capsys.readouterr().out

    def test_closure_is_named(self, capsys):
        culprit = threading.Lock()
        good, failures = inspect_serializability(lambda: culprit, name="closes over")
        assert good is False
        (failure,) = failures
        assert "FailTuple(culprit" in repr(failure) and failure.obj is culprit


class TestMetrics:
    def test_info(self):
        counter = Counter("conformance_info", description="says", tag_keys=("a",))
        counter.set_default_tags({"a": "1"})
        assert counter.info == {
            "name": "conformance_info",
            "description": "says",
            "tag_keys": ("a",),
            "default_tags": {"a": "1"},
        }
        assert Histogram("conformance_histogram_info", boundaries=[1, 2]).info["boundaries"] == [1, 2]

    def test_record(self):
        Counter("conformance_counter", tag_keys=("a",)).inc(2, tags={"a": "x"})
        Gauge("conformance_gauge").set(-1.5)
        Histogram("conformance_histogram", boundaries=[0.1, 1.0]).observe(0.5)

    def test_record_in_a_task(self):
        @ray.remote
        def record():
            Counter("conformance_task_counter").inc()
            return "recorded"

        assert ray.get(record.remote()) == "recorded"

    @pytest.mark.parametrize(
        "call, error, text",
        [
            (lambda counter: counter.inc(0, tags={"a": "1"}), ValueError, "value must be >0"),
            (lambda counter: counter.inc(-1, tags={"a": "1"}), ValueError, "value must be >0"),
            (lambda counter: counter.inc("x", tags={"a": "1"}), TypeError, "int or float"),
            (lambda counter: counter.inc(1), ValueError, "Missing value for tag key"),
            (lambda counter: counter.inc(1, tags={"a": 1}), TypeError, "Tag values must be str"),
            (lambda counter: counter.set_default_tags({"z": "1"}), ValueError, "Unrecognized tag key z"),
            (lambda counter: Counter(""), ValueError, "Empty name"),
            (lambda counter: Counter("n", tag_keys="a"), TypeError, "tag_keys"),
            (lambda counter: Counter("n", tag_keys=(1,)), TypeError, "Tag keys must be str"),
            (lambda counter: Histogram("n"), ValueError, "boundaries"),
            (lambda counter: Histogram("n", boundaries=[-1, 2]), ValueError, "boundaries"),
            (lambda counter: Gauge("n").set("x"), TypeError, "int or float"),
        ],
    )
    def test_wrong_use(self, call, error, text):
        with pytest.raises(error, match=text):
            call(Counter("conformance_wrong", tag_keys=("a",)))


class TestSmallTools:
    def test_node_address(self, cluster):
        assert ray.util.get_node_ip_address() == cluster.address_info["node_ip_address"]

    def test_progress_bar_passes_items_on(self):
        assert list(tqdm_ray.tqdm(range(5), desc="five")) == list(range(5))

    def test_progress_bar_in_a_task(self):
        @ray.remote
        def count():
            return sum(1 for _ in tqdm_ray.tqdm(range(7)))

        assert ray.get(count.remote()) == 7

    def test_as_completed_and_map_unordered(self):
        refs = [Doubler.remote().double.remote(i) for i in range(3)]
        assert sorted(ray.util.as_completed(refs)) == [0, 2, 4]
        remote_square = ray.remote(square)
        assert sorted(ray.util.map_unordered(remote_square, range(4))) == [0, 1, 4, 9]

    def test_get_actor_names_is_empty_without_named_actors(self):
        assert ray.util.list_named_actors() == []
