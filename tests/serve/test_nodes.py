"""Serve on several nodes: a proxy on each, replicas that move when one dies."""

import asyncio
import collections

import pytest
import ray
import requests
from ray import serve
from ray.cluster_utils import Cluster
from ray.serve.api import _run
from starlette.requests import Request
from test_faults import Load, running, status_of, until


@pytest.fixture
def cluster():
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    ray.init(address=made.address, log_to_driver=False)
    yield made
    serve.shutdown()
    ray.shutdown()
    made.shutdown()


@serve.deployment(num_replicas=3, health_check_period_s=0.2, ray_actor_options={"num_cpus": 1})
class Where:
    async def __call__(self, request: Request = None):
        return ray.get_runtime_context().get_node_id()


def ports():
    """Where the proxies listen, by node."""
    found = {}
    for node in serve.status().proxies:
        proxy = ray.get_actor(f"SERVE_PROXY_ACTOR-{node}", namespace="serve")
        found[node] = ray.get(proxy.ready.remote())["port"]
    return found


def test_each_node_has_a_proxy_and_a_dead_ones_replicas_move(cluster):
    second = cluster.add_node(num_cpus=2)
    serve.start(proxy_location="EveryNode", http_options={"port": 0})
    serve.run(Where.bind())
    both = ports()
    assert len(both) == 2 and second.unique_id in both
    for node, port in both.items():
        seen = {requests.get(f"http://127.0.0.1:{port}/", timeout=30).text for _ in range(40)}
        assert seen == {node}, "a proxy prefers the replicas of its node"
    handle = serve.get_app_handle("default")
    assert {handle.remote().result(timeout_s=30) for _ in range(40)} == set(both)
    near = handle.options(_prefer_local_routing=True)
    here = ray.get_runtime_context().get_node_id()
    assert {near.remote().result(timeout_s=30) for _ in range(20)} == {here}
    head = next(port for node, port in both.items() if node != second.unique_id)
    cluster.add_node(num_cpus=2)
    with Load(f"http://127.0.0.1:{head}/", clients=24) as load:  # more than the head's replicas take
        load.more()
        second.kill()
        until(lambda: second.unique_id not in serve.status().proxies)
        until(lambda: running("default", "Where") == 3)
        load.more()
    assert not load.failures(), "GET is sent again where its replica died"
    until(lambda: len(ports()) == 2)


def where(app):
    """How many running replicas of an app of one deployment each node has."""
    from narke.serve._private.client import controller

    details = ray.get(controller().details.remote())["applications"][app]
    (deployment,) = details["deployments"].values()
    replicas = deployment["replicas"]
    return collections.Counter(each["node_id"] for each in replicas if each["state"] == "RUNNING")


@serve.deployment(health_check_period_s=0.2, ray_actor_options={"num_cpus": 0.1})
class Bounded:
    async def __call__(self, request: Request = None):
        return ray.get_runtime_context().get_node_id()


def test_a_node_gets_no_more_replicas_than_the_deployment_allows(cluster):
    second = cluster.add_node(num_cpus=2)
    serve.start(http_options={"port": 0})
    _run(Bounded.options(num_replicas=3, max_replicas_per_node=1).bind(), name="bounded", _blocking=False)
    until(lambda: sorted(where("bounded").values()) == [1, 1])
    assert serve.status().applications["bounded"].status == "DEPLOYING"
    # Another has its own bound.
    serve.run(Bounded.options(num_replicas=2).bind(), name="free", route_prefix="/free")
    assert not [name for name in ray.available_resources() if "implicit" in name]
    third = cluster.add_node(num_cpus=2)
    until(lambda: serve.status().applications["bounded"].status == "RUNNING")
    assert where("bounded")[third.unique_id] == 1 and set(where("bounded").values()) == {1}
    second.kill()
    until(lambda: second.unique_id not in where("bounded"))
    assert set(where("bounded").values()) == {1}
    _run(Bounded.options(num_replicas=3, max_replicas_per_node=2).bind(), name="bounded", _blocking=False)
    until(lambda: serve.status().applications["bounded"].status == "RUNNING")
    assert sorted(where("bounded").values()) == [1, 2]


class Opener:
    """Lets callers pass once it is opened."""

    def __init__(self):
        self._opened = asyncio.Event()

    async def open(self):
        self._opened.set()

    async def passed(self):
        await self._opened.wait()


def test_an_autoscaler_stays_within_the_bound_of_a_node(cluster):
    cluster.add_node(num_cpus=2)
    serve.start(http_options={"port": 0})
    gate = ray.remote(num_cpus=0)(Opener).remote()

    @serve.deployment(
        max_replicas_per_node=1,
        ray_actor_options={"num_cpus": 0.1},
        autoscaling_config={
            "min_replicas": 1,
            "max_replicas": 4,
            "target_ongoing_requests": 1,
            "upscale_delay_s": 0,
            "downscale_delay_s": 0.2,
            "look_back_period_s": 0.5,
        },
    )
    class Held:
        async def __call__(self):
            await gate.passed.remote()
            return "through"

    handle = serve.run(Held.bind(), name="bounded")
    answers = [handle.remote() for _ in range(4)]
    until(lambda: sorted(where("bounded").values()) == [1, 1])
    until(lambda: "STARTING" in str(status_of("bounded", "Held").replica_states))
    assert max(where("bounded").values()) == 1
    gate.open.remote()
    assert [answer.result(timeout_s=60) for answer in answers] == ["through"] * 4
    until(lambda: list(where("bounded").values()) == [1])
