"""Calls between deployments: results, streams, errors, composition, batching, multiplexing, local testing mode."""

import asyncio
import time

import pytest
import ray
from ray import serve
from ray.serve.exceptions import RequestCancelledError

SMALL = {"num_cpus": 0.1}


@serve.deployment(ray_actor_options=SMALL, max_ongoing_requests=20)
class Worker:
    def __init__(self):
        self.cancelled = False

    def double(self, x):
        return 2 * x

    async def __call__(self, x):
        return x + 1

    def count(self, n):
        yield from range(n)

    async def acount(self, n):
        for i in range(n):
            yield i

    def fail(self):
        raise ValueError("no")

    async def hang(self):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    def was_cancelled(self):
        return self.cancelled

    def context(self):
        here = serve.get_replica_context()
        return here.app_name, here.deployment, len(here.replica_tag) > 0

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=30)
    async def batched(self, items):
        return [(item, len(items)) for item in items]

    @serve.batch(max_batch_size=4, batch_wait_timeout_s=0.05)
    async def batched_briefly(self, items):
        return [(item, len(items)) for item in items]

    @serve.multiplexed(max_num_models_per_replica=2)
    async def model(self, name: str):
        return f"model {name} {time.monotonic_ns()}"

    async def use_model(self):
        return await self.model(serve.get_multiplexed_model_id())


@serve.deployment(ray_actor_options=SMALL)
class Front:
    def __init__(self, worker, plain):
        self.worker, self.plain = worker, plain

    async def __call__(self, x):
        one = self.worker.remote(x)
        two = self.worker.double.remote(one)
        items = [i async for i in self.worker.options(stream=True).acount.remote(3)]
        return await two, await self.plain.remote(x), items

    async def fails(self):
        return await self.worker.fail.remote()


@serve.deployment(ray_actor_options=SMALL)
def plain(x):
    return f"plain {x}"


def application():
    return Front.bind(Worker.bind(), plain.bind())


@pytest.fixture(scope="module")
def front(served):
    return serve.run(application(), name="handles", route_prefix=None)


@pytest.fixture(scope="module")
def worker(front):
    return serve.get_deployment_handle("Worker", "handles")


def test_composition(front):
    assert front.remote(3).result(timeout_s=30) == (8, "plain 3", [0, 1, 2])


def test_kinds_of_methods(worker):
    assert worker.double.remote(2).result(timeout_s=30) == 4
    assert worker.options(method_name="double").remote(x=5).result(timeout_s=30) == 10
    assert list(worker.options(stream=True).count.remote(1000)) == list(range(1000))
    assert worker.context.remote().result(timeout_s=30) == ("handles", "Worker", True)


def test_errors_keep_their_type(front, worker):
    with pytest.raises(ValueError, match="no"):
        worker.fail.remote().result(timeout_s=30)
    with pytest.raises(ValueError, match="no"):
        front.fails.remote().result(timeout_s=30)
    with pytest.raises(AttributeError, match="nothing"):
        worker.nothing.remote().result(timeout_s=30)
    with pytest.raises(TypeError, match="stream=True"):
        worker.count.remote(2).result(timeout_s=30)


def test_a_response_is_an_argument(worker):
    assert worker.double.remote(worker.double.remote(worker.remote(1))).result(timeout_s=30) == 8


def test_cancelling(worker):
    response = worker.hang.remote()
    with pytest.raises(TimeoutError):
        response.result(timeout_s=0.2)
    response.cancel()
    with pytest.raises(RequestCancelledError):
        response.result(timeout_s=30)
    deadline = time.monotonic() + 30
    while not worker.was_cancelled.remote().result(timeout_s=30):
        assert time.monotonic() < deadline
    assert response.cancelled()


def test_awaiting_in_an_event_loop(worker):
    async def ask():
        with pytest.raises(RuntimeError, match="await"):
            worker.double.remote(1).result()
        results = await asyncio.gather(*(worker.double.remote(i) for i in range(50)))
        return results, [i async for i in worker.options(stream=True).count.remote(5)]

    assert asyncio.run(ask()) == ([2 * i for i in range(50)], [0, 1, 2, 3, 4])


def test_batches(worker):
    responses = [worker.batched.remote(i) for i in range(4)]
    assert [r.result(timeout_s=30) for r in responses] == [(i, 4) for i in range(4)]
    assert worker.batched_briefly.remote(9).result(timeout_s=30) == (9, 1)


def test_models_are_kept_while_there_is_room(worker):
    def use(name):
        return worker.options(multiplexed_model_id=name).use_model.remote().result(timeout_s=30)

    first = use("a")
    assert use("a") == first and use("b") != first
    use("c")
    assert use("a") != first


def test_handles_travel(worker):
    @ray.remote
    def ask(handle):
        return handle.double.remote(21).result(timeout_s=30)

    assert ray.get(ask.remote(worker)) == 42


def test_routers_of_ones_own(clean):
    from ray.serve.experimental.consistent_hash_router import ConsistentHashRouter

    @serve.deployment(
        num_replicas=3,
        ray_actor_options=SMALL,
        request_router_config={"request_router_class": ConsistentHashRouter},
    )
    class Where:
        async def __call__(self):
            return serve.get_replica_context().replica_tag

    handle = serve.run(Where.bind(), name="where", route_prefix=None)
    for session in "abcdef":
        sticky = handle.options(session_id=session)
        assert len({sticky.remote().result(timeout_s=30) for _ in range(5)}) == 1
    assert len({handle.options(session_id=str(i)).remote().result(timeout_s=30) for i in range(40)}) > 1


def test_shared_actors(clean):
    class Counter:
        def __init__(self, start):
            self.n = start

        def next(self):
            self.n += 1
            return self.n

    @serve.deployment(
        num_replicas=2,
        ray_actor_options=SMALL,
        deployment_actors=[{"name": "counter", "actor_class": Counter, "init_args": (10,)}],
    )
    class Uses:
        async def __call__(self):
            return await serve.get_deployment_actor("counter").next.remote()

    handle = serve.run(Uses.bind(), name="shared", route_prefix=None)
    assert sorted(handle.remote().result(timeout_s=30) for _ in range(6)) == [11, 12, 13, 14, 15, 16]


def test_options_that_nothing_heeds_are_refused(served):
    with pytest.raises(ValueError, match="max_replicas_per_node"):
        serve.run(Worker.options(max_replicas_per_node=1).bind(), name="x", route_prefix=None)
    with pytest.raises(ValueError, match="root_path"):
        serve.start(http_options={"root_path": "x"})


def test_graphs_are_checked(served):
    with pytest.raises(TypeError, match="bind"):
        serve.run(Worker)
    with pytest.raises(ValueError, match="route_prefix"):
        serve.run(Worker.bind(), route_prefix="nothing")


class TestLocally:
    def test_composition(self):
        handle = serve.run(application(), _local_testing_mode=True)
        assert handle.remote(3).result(timeout_s=30) == (8, "plain 3", [0, 1, 2])

    def test_streams_and_errors(self):
        handle = serve.run(Worker.bind(), _local_testing_mode=True)
        assert list(handle.options(stream=True).count.remote(3)) == [0, 1, 2]
        with pytest.raises(ValueError, match="no"):
            handle.fail.remote().result()
