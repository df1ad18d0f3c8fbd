"""Processes that die, updates and shutdowns under load: which requests fail, and what comes back."""

import asyncio
import contextlib
import os
import signal
import threading
import time

import pytest
import ray
import requests
from ray import serve
from starlette.requests import Request


class Load:
    """Clients that ask all the time; counts what they are answered."""

    def __init__(self, url, clients=4, method="GET"):
        self.url = url
        self.method = method
        self.answers = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def _run(self):
        session = requests.Session()
        while not self._stop.is_set():
            try:
                answer = session.request(self.method, self.url, timeout=30)
                key = (answer.status_code, answer.text if answer.status_code == 200 else "")
            except requests.RequestException as error:
                key = (type(error).__name__, "")
            with self._lock:
                self.answers[key] = self.answers.get(key, 0) + 1

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def failures(self):
        return {key: count for key, count in self.answers.items() if key[0] != 200}

    def wait_for(self, key, seconds=60):
        until(lambda: key in self.answers, seconds)

    def more(self, count=20, seconds=60):
        """Wait for so many more answers."""
        goal = sum(self.answers.values()) + count
        until(lambda: sum(self.answers.values()) >= goal, seconds)


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


def status_of(app, deployment):
    return serve.status().applications[app].deployments[deployment]


def running(app, deployment):
    states = status_of(app, deployment).replica_states
    return {str(getattr(k, "value", k)): v for k, v in states.items()}.get("RUNNING", 0)


@serve.deployment(num_replicas=2, health_check_period_s=0.2, ray_actor_options={"num_cpus": 0.1})
class Named:
    def __init__(self, name):
        self.name = name
        self.ill = False

    def pid(self):
        return os.getpid()

    def fall_ill(self):
        self.ill = True

    def check_health(self):
        if self.ill:
            raise RuntimeError("a cough")

    async def __call__(self, request: Request):
        return self.name


def test_updates_under_load_fail_no_request(clean):
    serve.run(Named.bind("v0"), name="app", route_prefix="/")
    with Load(clean.url + "/", method="POST") as load:
        for version in range(1, 6):
            serve.run(Named.bind(f"v{version}"), name="app", route_prefix="/")
            load.wait_for((200, f"v{version}"))
        load.more()
    assert not load.failures()


def test_a_killed_replica_costs_no_safe_request_and_comes_back(clean):
    handle = serve.run(Named.bind("x"), name="app", route_prefix="/")
    with Load(clean.url + "/") as load:
        load.more()
        os.kill(handle.pid.remote().result(), signal.SIGKILL)
        until(lambda: status_of("app", "Named").status != "HEALTHY")
        until(lambda: status_of("app", "Named").status == "HEALTHY" and running("app", "Named") == 2)
        load.more()
    assert not load.failures()


def test_an_ill_replica_is_replaced(clean):
    handle = serve.run(Named.options(num_replicas=1).bind("x"), name="app", route_prefix="/")
    before = handle.pid.remote().result()
    handle.fall_ill.remote().result()

    def replaced():
        with contextlib.suppress(Exception):
            return handle.pid.remote().result(timeout_s=10) != before
        return False

    until(replaced)
    until(lambda: status_of("app", "Named").status == "HEALTHY")


def test_apps_go_on_without_the_controller_which_takes_over_again(clean):
    from narke.serve._private.client import controller

    handle = serve.run(Named.bind("x"), name="app", route_prefix="/")
    pids = {handle.pid.remote().result() for _ in range(20)}
    with Load(clean.url + "/") as load:
        load.more()
        os.kill(ray.get(controller().pid.remote()), signal.SIGKILL)
        load.more(100)
        until(lambda: "app" in serve.status().applications and running("app", "Named") == 2)
        assert {handle.pid.remote().result() for _ in range(20)} == pids
        serve.run(Named.bind("y"), name="app", route_prefix="/")
        load.wait_for((200, "y"))
    assert not load.failures()


def proxy_pid():
    (node,) = serve.status().proxies
    proxy = ray.get_actor(f"SERVE_PROXY_ACTOR-{node}", namespace="serve")
    return ray.get(proxy.ready.remote())["pid"]


def answers(url, text):
    with contextlib.suppress(requests.RequestException):
        return requests.get(url, timeout=10).text == text
    return False


def test_a_killed_proxy_is_started_again(clean):
    serve.run(Named.bind("x"), name="app", route_prefix="/")
    pid = proxy_pid()
    os.kill(pid, signal.SIGKILL)
    until(lambda: answers(clean.url + "/", "x"))
    assert proxy_pid() != pid


@serve.deployment(ray_actor_options={"num_cpus": 0.1})
class Gate:
    """Answers and streams once it is opened."""

    def __init__(self):
        self.is_open = False
        self.waiting = 0

    def open(self):
        self.is_open = True

    def waits(self):
        return self.waiting

    async def __call__(self, request: Request):
        self.waiting += 1
        while not self.is_open:
            await asyncio.sleep(0.01)
        return "through"


def test_a_proxy_that_is_told_to_end_answers_what_it_has(clean):
    handle = serve.run(Gate.bind(), name="gate", route_prefix="/")
    pid, texts = proxy_pid(), []
    asks = [
        threading.Thread(target=lambda: texts.append(requests.get(clean.url + "/", timeout=60).text))
        for _ in range(3)
    ]
    for ask in asks:
        ask.start()
    until(lambda: handle.waits.remote().result() == 3)
    os.kill(pid, signal.SIGTERM)
    handle.open.remote().result()
    for ask in asks:
        ask.join()
    assert texts == ["through"] * 3
    until(lambda: answers(clean.url + "/", "through"))
    assert proxy_pid() != pid


def test_a_constructor_that_raises_is_told(clean):
    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Broken:
        def __init__(self):
            raise ValueError("the reason")

    with pytest.raises(RuntimeError, match="the reason"):
        serve.run(Broken.bind(), name="broken", route_prefix="/broken")
    overview = serve.status().applications["broken"]
    assert overview.status == "DEPLOY_FAILED" and "the reason" in overview.deployments["Broken"].message


def test_requests_beyond_the_queue_are_refused(clean, tmp_path):
    gate = tmp_path / "gate"

    @serve.deployment(max_ongoing_requests=1, max_queued_requests=1, ray_actor_options={"num_cpus": 0.1})
    class Slow:
        async def __call__(self, request: Request):
            while not gate.exists():
                await asyncio.sleep(0.01)
            return "done"

    serve.run(Slow.bind(), name="slow", route_prefix="/slow")
    results = []

    def ask():
        results.append(requests.get(clean.url + "/slow", timeout=60).status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    until(lambda: len(results) >= 4)
    answer = requests.get(clean.url + "/slow", timeout=60)
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    gate.touch()
    for thread in threads:
        thread.join()
    assert sorted(results) == [200, 200, 503, 503, 503, 503]


def test_requests_wait_for_the_first_replica(clean):
    @serve.deployment(
        autoscaling_config={
            "min_replicas": 0,
            "max_replicas": 2,
            "upscale_delay_s": 0,
            "downscale_delay_s": 0.2,
            "look_back_period_s": 0.5,
            "downscale_to_zero_delay_s": 0.2,
        },
        ray_actor_options={"num_cpus": 0.1},
    )
    class Sleepy:
        async def __call__(self, request: Request):
            return "awake"

    serve.run(Sleepy.bind(), name="zero", route_prefix="/zero")
    for _ in range(2):
        until(lambda: running("zero", "Sleepy") == 0)
        assert requests.get(clean.url + "/zero", timeout=60).text == "awake"
