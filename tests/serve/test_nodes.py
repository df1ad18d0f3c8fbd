"""Serve on several nodes: a proxy on each, replicas that move when one dies."""

import pytest
import ray
import requests
from ray import serve
from ray.cluster_utils import Cluster
from starlette.requests import Request
from test_faults import Load, running, until


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
