"""Calls between deployments: results, streams, errors, composition, batching, multiplexing, local testing mode."""

import asyncio
import os
import pathlib
import subprocess
import sys
import time

import pytest
import ray
from conftest import until
from ray import serve
from ray.serve.exceptions import RayServeException, RequestCancelledError

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
    with pytest.raises(RayServeException, match="nothing"):
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


def test_a_module_does_not_take_the_place_of_a_function_of_its_name():
    program = (
        "from ray import serve\nfrom ray.serve.deployment import Deployment\nimport ray.serve.schema\n"
        "made = serve.deployment(lambda: 1)\nassert isinstance(made, Deployment), made\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    code = f"from narke import _alias\n_alias.install()\n{program}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, env=environment)


def test_options_that_cannot_be_are_refused(served):
    for bad in ({"placement_group_strategy": "PACK"}, {"health_check_period_s": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            Worker.options(**bad)
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


def test_errors_are_serves_own(worker):
    """As programs catch them: what has no such name, and a prefix that another application has."""
    with pytest.raises(KeyError, match="does not exist"):
        serve.get_deployment_handle("Nobody", "handles")
    with pytest.raises(RayServeException, match="does not exist"):
        serve.get_app_handle("nobody")

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    def twin(request):
        return "twin"

    serve.run(twin.bind(), name="first", route_prefix="/twin")
    with pytest.raises(RayServeException, match="/twin is being used"):
        serve.run(twin.bind(), name="second", route_prefix="/twin")
    states = serve.status().applications["first"].deployments["twin"].replica_states
    assert str(states) == "{'RUNNING': 1}"
    serve.delete("first")


def test_calls_pass_those_whose_arguments_are_late(clean_chain):
    """A response that is an argument holds up its own call alone, and one that is cancelled never runs."""
    first = clean_chain.run.remote("never")
    assert clean_chain.run.remote("now").result(timeout_s=30) == "now"
    first.cancel()
    assert clean_chain.seen.remote().result(timeout_s=30) == ["now"]


@pytest.fixture
def clean_chain(served):
    @serve.deployment(ray_actor_options={"num_cpus": 0.1}, graceful_shutdown_timeout_s=0)
    class Slow:
        async def pass_on(self, text):
            await asyncio.sleep(1000 if text == "never" else 0)
            return text

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Last:
        def __init__(self):
            self.texts = []

        def take(self, text):
            self.texts.append(text)
            return text

        def seen(self):
            return self.texts

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Chain:
        def __init__(self, slow, last):
            self.slow, self.last = slow, last

        async def run(self, text):
            return await self.last.take.remote(self.slow.pass_on.remote(text))

        async def seen(self):
            return await self.last.seen.remote()

    yield serve.run(Chain.bind(Slow.bind(), Last.bind()), name="chain", route_prefix=None)
    serve.delete("chain")


def test_batches_refuse_what_never_fits(served):
    with pytest.raises(TypeError, match="batch_size_fn"):
        serve.batch(batch_size_fn="no function")

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Sized:
        @serve.batch(max_batch_size=10, batch_wait_timeout_s=0.01, batch_size_fn=sum)
        async def sizes(self, numbers):
            return [len(numbers)] * len(numbers)

        async def __call__(self, number):
            return await self.sizes(number)

    handle = serve.run(Sized.bind(), name="sized", route_prefix=None)
    assert handle.remote(9).result(timeout_s=30) == 1
    with pytest.raises(RuntimeError, match="size 11"):
        handle.remote(11).result(timeout_s=30)
    serve.delete("sized")


def test_calls_that_wait_for_a_replica_are_cancelled_with_their_request(served, tmp_path):
    opened = str(tmp_path / "opened")

    @serve.deployment(ray_actor_options={"num_cpus": 0.1}, max_ongoing_requests=1)
    class Gate:
        def __init__(self):
            self.entered = []

        async def enter(self, name):
            self.entered.append(name)
            while not os.path.exists(opened):
                await asyncio.sleep(0.01)

        def names(self):
            return self.entered

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Visitor:
        def __init__(self, gate):
            self.gate, self.visits = gate, 0

        async def visit(self, name):
            if name == "1":
                await self.gate.names.remote()  # from then on the replica is known here
            self.held = self.gate.enter.remote(name)
            self.visits += 1
            await asyncio.sleep(1000)

        async def count(self):
            return self.visits

    visitor = serve.run(Visitor.bind(Gate.bind()), name="visits", route_prefix=None)
    visits = []
    for number in (1, 2):
        visits.append(visitor.visit.remote(str(number)))
        until(lambda n=number: visitor.count.remote().result(timeout_s=30) == n, "the visitor")
    visits[1].cancel()
    with pytest.raises(RequestCancelledError):
        visits[1].result(timeout_s=30)
    pathlib.Path(opened).touch()
    gate = serve.get_deployment_handle("Gate", "visits")
    assert gate.names.remote().result(timeout_s=30) == ["1"]
    visits[0].cancel()
    serve.delete("visits")
