"""Deployments that work on queues of tasks, over a Redis server of the test's own."""

import inspect
import shutil
import socket
import subprocess

import pytest

pytest.importorskip("celery")
pytest.importorskip("taskiq_redis")
redis = pytest.importorskip("redis")
if shutil.which("redis-server") is None:
    pytest.skip("there is no redis-server here", allow_module_level=True)

import pathlib  # noqa: E402

from conftest import free_port, until  # noqa: E402
from ray import serve  # noqa: E402
from ray.serve.async_inference_autoscaling_policy import AsyncInferenceAutoscalingPolicy  # noqa: E402
from ray.serve.config import AutoscalingConfig, AutoscalingContext  # noqa: E402
from ray.serve.schema import CeleryAdapterConfig, TaskProcessorConfig  # noqa: E402
from ray.serve.task_consumer import (  # noqa: E402
    instantiate_adapter_from_config,
    task_consumer,
    task_handler,
)
from ray.serve.task_processor import CeleryTaskProcessorAdapter  # noqa: E402
from ray.serve.taskiq_task_processor import TaskiqAdapterConfig, TaskiqTaskProcessorAdapter  # noqa: E402

from narke.serve._private.brokers import queue_length  # noqa: E402


@pytest.fixture(scope="module")
def redis_url():
    port = free_port()
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def listens():
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", port)) == 0

    until(listens, "redis-server does not listen")
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(30)


def config_of(kind, url, queue):
    if kind == "celery":
        adapter = "ray.serve.task_processor.CeleryTaskProcessorAdapter"
        given = CeleryAdapterConfig(broker_url=url, backend_url=url)
    else:
        adapter = TaskiqTaskProcessorAdapter
        given = TaskiqAdapterConfig(broker_type=kind, broker_kwargs={"url": url}, result_backend_url=url)
    return TaskProcessorConfig(
        queue_name=queue,
        adapter=adapter,
        adapter_config=given,
        max_retries=1,
        failed_task_queue_name=f"{queue}-failed",
        unprocessable_task_queue_name=f"{queue}-unknown",
    )


@pytest.mark.parametrize("kind", ["celery", "redis_stream", "redis_list"])
def test_replicas_work_on_a_queue(served, redis_url, tmp_path, kind):
    """Results come back; what fails is tried again and put aside, as is what nobody knows."""
    config = config_of(kind, redis_url, f"tasks-{kind}")
    log = str(tmp_path / "log")

    @serve.deployment(num_replicas=2, max_ongoing_requests=3, ray_actor_options={"num_cpus": 0.1})
    @task_consumer(task_processor_config=config)
    class Worker:
        def __init__(self, log):
            self.log = log

        @task_handler
        def add(self, a, b=0):
            return a + b

        @task_handler(name="fails")
        def broken(self, text):
            with open(self.log, "a") as file:
                file.write(f"{text}\n")
            raise ValueError(f"no {text}")

        def ping(self):
            return "pong"

    handle = serve.run(Worker.bind(log), name=f"work-{kind}", route_prefix=None)
    assert handle.ping.remote().result() == "pong"  # it is a deployment like any other
    adapter = instantiate_adapter_from_config(config)
    sent = [adapter.enqueue_task_sync("add", args=[n], kwargs={"b": 100}) for n in range(20)]
    broken = adapter.enqueue_task_sync("fails", args=["luck"])
    adapter.enqueue_task_sync("nobody", args=[])

    def done(task, status="SUCCESS"):
        found = adapter.get_task_status_sync(task.id)
        return found if found.status == status else None

    results = [until(lambda task=task: done(task), "a task does not end").result for task in sent]
    assert results == [n + 100 for n in range(20)]
    assert "no luck" in str(until(lambda: done(broken, "FAILURE"), "it does not fail").result)
    assert pathlib.Path(log).read_text() == "luck\n" * 2
    for place in ("failed", "unknown"):
        queue = f"tasks-{kind}-{place}"
        until(lambda queue=queue: queue_length(redis_url, queue) == 1, f"nothing in {queue}")
    serve.delete(f"work-{kind}")


@pytest.mark.parametrize("kind", ["celery", "redis_stream"])
def test_a_consumer_outside_of_serve(redis_url, kind):
    """What is cancelled before it begins never runs; metrics, health, an end."""
    adapter = instantiate_adapter_from_config(config_of(kind, redis_url, f"alone-{kind}"))
    ran = []

    def say(word):
        ran.append(word)

    adapter.register_task_handle(say)
    adapter.start_consumer()
    first = adapter.enqueue_task_sync("say", args=["one"])
    until(lambda: adapter.get_task_status_sync(first.id).status == "SUCCESS", "it does not run")
    answers = {name: answer for each in adapter.health_check_sync() for name, answer in each.items()}
    assert [answer for name, answer in answers.items() if f"alone-{kind}" in name] == [{"ok": "pong"}]
    assert adapter.get_metrics_sync()
    adapter.stop_consumer()
    cancelled = adapter.enqueue_task_sync("say", args=["two"])
    if kind == "celery":  # a worker that runs is told, others learn nothing
        assert ran == ["one"] and adapter.get_task_status_sync(cancelled.id).status == "PENDING"
        return
    assert adapter.cancel_task_sync(cancelled.id)
    assert not adapter.cancel_task_sync(first.id)
    last = adapter.enqueue_task_sync("say", args=["three"])
    adapter.start_consumer()
    until(lambda: adapter.get_task_status_sync(last.id).status == "SUCCESS", "it does not run")
    adapter.stop_consumer()
    assert ran == ["one", "three"]
    assert adapter.get_task_status_sync(cancelled.id).status == "REVOKED"


def test_handlers_may_be_coroutines_with_taskiq_only(redis_url):
    async def double(x):
        return 2 * x

    taskiq = instantiate_adapter_from_config(config_of("redis_list", redis_url, "coroutines"))
    taskiq.register_task_handle(double)
    taskiq.start_consumer()
    task = taskiq.enqueue_task_sync("double", args=[4])
    until(lambda: taskiq.get_task_status_sync(task.id).status == "SUCCESS", "it does not run")
    assert taskiq.get_task_status_sync(task.id).result == 8
    taskiq.stop_consumer()
    celery = instantiate_adapter_from_config(config_of("celery", redis_url, "coroutines-celery"))
    with pytest.raises(NotImplementedError, match="coroutine function"):
        celery.register_task_handle(double)


def test_replicas_follow_the_length_of_a_queue(redis_url):
    client = redis.Redis.from_url(redis_url)
    for _ in range(12):
        client.rpush("long", b"x")
    policy = AsyncInferenceAutoscalingPolicy(redis_url, "long", poll_interval_s=0.01)
    config = AutoscalingConfig(min_replicas=0, max_replicas=10, target_ongoing_requests=4)

    def wanted(running):
        context = AutoscalingContext(
            config=config, current_num_replicas=running, total_num_requests=4, **_unused()
        )
        return policy(context)

    until(lambda: wanted(2) == (4.0, {"queue_length": 12}), "the queue is not asked")
    assert wanted(0)[0] == 1
    with pytest.raises(ValueError, match="only redis and amqp"):
        AsyncInferenceAutoscalingPolicy("sqs://", "long")


def _unused():
    """Arguments of a context that the policy does not look at."""
    given = {"config", "current_num_replicas", "total_num_requests"}
    return {name: None for name in inspect.signature(AutoscalingContext).parameters if name not in given}


class TestRefusals:
    def test_adapters_that_are_none(self):
        config = TaskProcessorConfig(queue_name="q", adapter=dict, adapter_config={})
        with pytest.raises((TypeError, RuntimeError), match="dict"):
            instantiate_adapter_from_config(config)

    def test_configs_of_another_adapter(self):
        config = TaskProcessorConfig(queue_name="q", adapter_config={"broker_url": "x"})
        with pytest.raises(RuntimeError, match="CeleryAdapterConfig, got dict"):
            instantiate_adapter_from_config(config)

    def test_what_the_adapter_sets_itself(self):
        given = CeleryAdapterConfig(
            broker_url="memory://", backend_url="cache+memory://", app_custom_config={"worker_pool": "solo"}
        )
        with pytest.raises(ValueError, match="worker_pool"):
            CeleryTaskProcessorAdapter(TaskProcessorConfig(queue_name="q", adapter_config=given))

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"broker_type": "pigeon"}, "Unsupported broker_type"),
            ({"broker_type": "redis_stream"}, r"broker_kwargs: \['url'\]"),
            (
                {"broker_type": "kafka", "broker_kwargs": {"bootstrap_servers": []}},
                "pip install taskiq-aio-kafka",
            ),
        ],
    )
    def test_brokers(self, given, message):
        config = TaskProcessorConfig(
            queue_name="q", adapter=TaskiqTaskProcessorAdapter, adapter_config=TaskiqAdapterConfig(**given)
        )
        with pytest.raises(RuntimeError, match=message):
            instantiate_adapter_from_config(config)

    @pytest.mark.parametrize("name", ["", "  ", 3])
    def test_names_of_tasks(self, name):
        with pytest.raises(ValueError, match="non-empty string"):
            task_handler(name=name)
