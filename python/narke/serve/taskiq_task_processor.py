"""Queues of tasks over Taskiq (taskiq-python.github.io): Redis, RabbitMQ, NATS, Kafka."""

from __future__ import annotations

import asyncio
import concurrent.futures
import importlib
import logging
import threading
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, TypeVar

from narke.serve._private.methods import function_of
from narke.serve._private.models import Model
from narke.serve.schema import TaskProcessorAdapter, TaskProcessorConfig, TaskResult

__all__ = ["TaskiqAdapterConfig", "TaskiqTaskProcessorAdapter"]

logger = logging.getLogger("ray.serve")
_T = TypeVar("_T")
_ANSWER_S = 60.0  # a broker that does not answer for so long has failed
_CANCELLED = "The task was cancelled."


class _Kind(NamedTuple):
    module: str
    cls: str
    package: str
    queue: str = "queue_name"  # the constructor's name for the queue
    needs: tuple[str, ...] = ("url",)


_SENTINELS = ("sentinels", "master_name")
_KINDS = {
    "redis_stream": _Kind("taskiq_redis", "RedisStreamBroker", "taskiq-redis"),
    "redis_list": _Kind("taskiq_redis", "ListQueueBroker", "taskiq-redis"),
    "redis_pubsub": _Kind("taskiq_redis", "PubSubBroker", "taskiq-redis"),
    "redis_stream_cluster": _Kind("taskiq_redis", "RedisStreamClusterBroker", "taskiq-redis"),
    "redis_list_cluster": _Kind("taskiq_redis", "ListQueueClusterBroker", "taskiq-redis"),
    "redis_stream_sentinel": _Kind(
        "taskiq_redis", "RedisStreamSentinelBroker", "taskiq-redis", needs=_SENTINELS
    ),
    "redis_list_sentinel": _Kind("taskiq_redis", "ListQueueSentinelBroker", "taskiq-redis", needs=_SENTINELS),
    "redis_pubsub_sentinel": _Kind("taskiq_redis", "PubSubSentinelBroker", "taskiq-redis", needs=_SENTINELS),
    "rabbitmq": _Kind("taskiq_aio_pika", "AioPikaBroker", "taskiq-aio-pika", needs=()),
    "nats": _Kind("taskiq_nats", "PullBasedJetStreamBroker", "taskiq-nats", "subject", ("servers",)),
    "kafka": _Kind(
        "taskiq_aio_kafka", "AioKafkaBroker", "taskiq-aio-kafka", "kafka_topic", ("bootstrap_servers",)
    ),
}


class TaskiqAdapterConfig(Model):
    """Which broker Taskiq uses.

    Attributes:
        broker_type: redis_stream, redis_list, redis_pubsub (also with _cluster and _sentinel), rabbitmq, nats, kafka.
        broker_kwargs: of the broker's class, such as {"url": "redis://..."}; the queue's name is added.
        result_backend_url: Redis that keeps results; None: nothing is kept.
    """

    broker_type: str
    broker_kwargs: dict[str, Any] | None = None
    result_backend_url: str | None = None


def _broker(config: TaskiqAdapterConfig, queue: str) -> Any:
    """A broker of Taskiq for one queue.

    Raises:
        ValueError: the config names no known broker, or lacks what it needs.
        ImportError: its package is not installed.
    """
    kind = _KINDS.get(config.broker_type)
    if kind is None:
        raise ValueError(f"Unsupported broker_type: {config.broker_type!r}. Supported types: {list(_KINDS)}")
    given = dict(config.broker_kwargs or {})
    if missing := [name for name in kind.needs if name not in given]:
        raise ValueError(
            f"Broker {config.broker_type!r} requires the following keys in broker_kwargs: {missing}"
        )
    try:
        cls = getattr(importlib.import_module(kind.module), kind.cls)
    except ImportError as error:
        raise ImportError(
            f"Broker {config.broker_type!r} requires package {kind.package!r}. Install it with: "
            f"pip install {kind.package}"
        ) from error
    made = cls(**{**given, kind.queue: queue})
    if config.result_backend_url:
        from taskiq_redis import RedisAsyncResultBackend

        made = made.with_result_backend(RedisAsyncResultBackend(redis_url=config.result_backend_url))
    return made


class TaskiqTaskProcessorAdapter(TaskProcessorAdapter):
    """Puts tasks into a queue, and works on those that are there, on an event loop of its own.

    Handlers may be coroutine functions; plain ones run in threads. A task that fails is tried again ``max_retries``
    times, with pauses of 1, 2, 4... s, and is acknowledged only then; after that it goes to the
    ``failed_task_queue_name``, if there is one, and tasks of unknown names to the ``unprocessable_task_queue_name``.
    """

    def __init__(self, config: TaskProcessorConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(config.adapter_config, TaskiqAdapterConfig):
            raise TypeError(
                "TaskProcessorConfig.adapter_config must be an instance of TaskiqAdapterConfig, got "
                f"{type(config.adapter_config).__name__}"
            )
        self._config = config
        self._loop: asyncio.AbstractEventLoop | None = None
        self._brokers: dict[str, Any] = {}
        self._concurrency = 0
        self._end: asyncio.Event | None = None
        self._consumer: concurrent.futures.Future[None] | None = None
        self._counts: dict[str, int] = {}

    def initialize(self, consumer_concurrency: int = 5) -> None:
        """Connect to the broker."""
        self._concurrency = consumer_concurrency
        self._brokers = {
            self._config.queue_name: _broker(self._config.adapter_config, self._config.queue_name)
        }
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, name="taskiq", daemon=True).start()
        self._run(self._main.startup())

    @property
    def _main(self) -> Any:
        return self._brokers[self._config.queue_name]

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        assert self._loop is not None, "initialize() comes first"
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_ANSWER_S)

    def register_task_handle(self, func: Callable[..., Any], name: str | None = None) -> None:
        """Have tasks of a name run a function."""
        self._main.register_task(function_of(func), task_name=name or func.__name__)

    def enqueue_task_sync(
        self, task_name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue.

        Args:
            options: labels of the task, as Taskiq has them; ``task_id`` names it.
        """
        task_id = str(options.pop("task_id", None) or uuid.uuid4().hex)
        self._run(self._send(self._config.queue_name, task_name, task_id, args or [], kwargs or {}, options))
        return TaskResult(id=task_id, status="PENDING", created_at=time.time(), result=None)

    async def _send(
        self, queue: str, task: str, task_id: str, args: Any, kwargs: Any, labels: dict[str, Any]
    ) -> None:
        from taskiq.kicker import AsyncKicker

        if queue not in self._brokers:
            self._brokers[queue] = _broker(self._config.adapter_config, queue)
            await self._brokers[queue].startup()
        kicker: Any = AsyncKicker(task, self._brokers[queue], labels).with_task_id(task_id)
        await kicker.kiq(*args, **kwargs)

    def get_task_status_sync(self, task_id: str) -> TaskResult:
        """What became of a task: PENDING, SUCCESS, FAILURE or REVOKED.

        Raises:
            RuntimeError: the config has no result_backend_url.
        """
        return self._run(self._status(task_id))

    async def _status(self, task_id: str) -> TaskResult:
        kept = self._results()
        if not await kept.is_result_ready(task_id):
            return TaskResult(id=task_id, status="PENDING", result=None)
        found = await kept.get_result(task_id)
        if not found.is_err:
            return TaskResult(id=task_id, status="SUCCESS", result=found.return_value)
        is_cancelled = str(found.error) == _CANCELLED
        return TaskResult(id=task_id, status="REVOKED" if is_cancelled else "FAILURE", result=found.error)

    def _results(self) -> Any:
        if not self._config.adapter_config.result_backend_url:
            raise RuntimeError(
                f"Results of the queue {self._config.queue_name!r} are not kept: give TaskiqAdapterConfig a "
                "result_backend_url"
            )
        return self._main.result_backend

    def cancel_task_sync(self, task_id: str) -> bool:
        """Have a task passed over that has not begun.

        Returns:
            False: it has ended already.

        Raises:
            RuntimeError: the config has no result_backend_url.
        """
        return self._run(self._cancel(task_id))

    async def _cancel(self, task_id: str) -> bool:
        from taskiq import TaskiqResult

        kept = self._results()
        if await kept.is_result_ready(task_id):
            return False
        error = RuntimeError(_CANCELLED)
        result: Any = TaskiqResult(is_err=True, return_value=None, execution_time=0, error=error)
        await kept.set_result(task_id, result)
        return True

    def start_consumer(self, **kwargs: Any) -> None:
        """Begin to work on the queue. Nothing happens where it works already."""
        if self._consumer is not None and not self._consumer.done():
            return
        assert self._loop is not None, "initialize() comes first"
        self._counts = {"running": 0, "succeeded": 0, "failed": 0}
        self._consumer = asyncio.run_coroutine_threadsafe(self._consume(), self._loop)

    async def _consume(self) -> None:
        self._end = asyncio.Event()
        self._main.is_worker_process = True
        threads = concurrent.futures.ThreadPoolExecutor(self._concurrency, "taskiq-handler")
        receiver = _receiver_class()(
            self._main, threads, max_async_tasks=self._concurrency, run_startup=False
        )
        receiver.owner = self
        try:
            await receiver.listen(self._end)
        finally:
            threads.shutdown(wait=False)

    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Take no more tasks; waits at most `timeout` seconds for those that run."""
        consumer, self._consumer = self._consumer, None
        if consumer is None or self._loop is None or self._end is None:
            return
        self._loop.call_soon_threadsafe(self._end.set)
        try:
            consumer.result(timeout)
        except concurrent.futures.TimeoutError:
            logger.warning("Tasks of queue %s still run after %s s.", self._config.queue_name, timeout)

    def get_metrics_sync(self) -> dict[str, Any]:
        """Tasks of this process: {"running", "succeeded", "failed"}; {} where it does not work on the queue."""
        return dict(self._counts)

    def health_check_sync(self) -> list[dict[str, Any]]:
        """``[{queue: {"ok": "pong"}}]`` where this process works on the queue.

        Raises:
            Exception: what has ended the work.
        """
        if self._consumer is None:
            return []
        if self._consumer.done():
            self._consumer.result()
        return [{self._config.queue_name: {"ok": "pong"}}]

    # ---- a task on its way; on the event loop ----

    async def _refuse(self, message: Any) -> None:
        """There is no handler for a task."""
        if queue := self._config.unprocessable_task_queue_name:
            told = [message.task_name, message.task_id, str(message.args), str(message.kwargs)]
            await self._move(queue, message, told)

    async def _move(self, queue: str, message: Any, told: list[str]) -> None:
        logger.error("Task %s goes to the queue %s: %s", message.task_id, queue, told)
        await self._send(queue, message.task_name, uuid.uuid4().hex, told, {}, {})

    async def _is_cancelled(self, message: Any) -> bool:
        if not self._config.adapter_config.result_backend_url:
            return False
        return bool(await self._main.result_backend.is_result_ready(message.task_id))

    async def _attempt(self, run: Callable[[], Coroutine[Any, Any, Any]], message: Any) -> Any:
        """Run a task until it succeeds or has been tried often enough."""
        self._counts["running"] += 1
        try:
            result = await run()
            for attempt in range(self._config.max_retries or 0):
                if not result.is_err:
                    break
                await asyncio.sleep(min(2**attempt, 60))
                result = await run()
        finally:
            self._counts["running"] -= 1
        self._counts["failed" if result.is_err else "succeeded"] += 1
        if result.is_err and (queue := self._config.failed_task_queue_name):
            told = [message.task_id, str(result.error), str(message.args), str(message.kwargs)]
            await self._move(queue, message, told)
        return result


def _receiver_class() -> Any:
    """Taskiq's receiver with what the adapter adds; made here, as Taskiq is imported only where it is used."""
    from taskiq import AckableMessage, NoResultError, TaskiqResult
    from taskiq.receiver import Receiver

    class Handled(Receiver):
        owner: TaskiqTaskProcessorAdapter

        async def callback(self, message: Any, raise_err: bool = False) -> None:
            data = message.data if isinstance(message, AckableMessage) else message
            try:
                task = self.broker.formatter.loads(data)
            except ValueError:
                task = None  # told in the log and acknowledged below
            if task is not None and self.broker.find_task(task.task_name) is None:
                await self.owner._refuse(task)
            await super().callback(message, raise_err)

        async def run_task(self, target: Any, message: Any, ack_controller: Any = None) -> Any:
            if await self.owner._is_cancelled(message):
                error = NoResultError()
                return TaskiqResult(is_err=True, return_value=None, execution_time=0, error=error)
            run = super().run_task
            return await self.owner._attempt(lambda: run(target, message, ack_controller), message)

    return Handled
