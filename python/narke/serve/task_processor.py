"""Queues of tasks over Celery (docs.celeryq.dev), with any broker that Celery knows."""

from __future__ import annotations

import inspect
import logging
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

import celery.worker.state
from celery import Celery
from celery.signals import task_failure, task_unknown

from narke.serve._private.methods import function_of
from narke.serve.schema import CeleryAdapterConfig, TaskProcessorAdapter, TaskProcessorConfig, TaskResult

__all__ = [
    "CELERY_DEFAULT_APP_CONFIG",
    "CELERY_TASK_ACKS_LATE",
    "CELERY_TASK_IGNORE_RESULT",
    "CELERY_TASK_REJECT_ON_WORKER_LOST",
    "CELERY_WORKER_CONCURRENCY",
    "CELERY_WORKER_POOL",
    "CeleryTaskProcessorAdapter",
]

logger = logging.getLogger("ray.serve")

CELERY_WORKER_POOL = "worker_pool"
CELERY_WORKER_CONCURRENCY = "worker_concurrency"
CELERY_TASK_IGNORE_RESULT = "task_ignore_result"
CELERY_TASK_ACKS_LATE = "task_acks_late"
CELERY_TASK_REJECT_ON_WORKER_LOST = "task_reject_on_worker_lost"
# What the adapter sets itself, so that no task is lost with a replica.
CELERY_DEFAULT_APP_CONFIG = [
    CELERY_WORKER_POOL,
    CELERY_WORKER_CONCURRENCY,
    CELERY_TASK_IGNORE_RESULT,
    CELERY_TASK_ACKS_LATE,
    CELERY_TASK_REJECT_ON_WORKER_LOST,
]
_THREAD = "serve-celery-worker"
_LONGEST_PAUSE_S = 60  # between two attempts


class CeleryTaskProcessorAdapter(TaskProcessorAdapter):
    """Puts tasks into a queue, and runs a Celery worker with threads in this process for those that are there.

    A task that fails is tried again ``max_retries`` times, with pauses of 1, 2, 4... s; then it goes to the
    ``failed_task_queue_name``, if there is one, and tasks of unknown names to the ``unprocessable_task_queue_name``.
    """

    def __init__(self, config: TaskProcessorConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(config.adapter_config, CeleryAdapterConfig):
            raise TypeError(
                "TaskProcessorConfig.adapter_config must be an instance of CeleryAdapterConfig, got "
                f"{type(config.adapter_config).__name__}"
            )
        own = set(config.adapter_config.app_custom_config or ()) & set(CELERY_DEFAULT_APP_CONFIG)
        if own:
            raise ValueError(
                f"The following configuration keys cannot be changed via app_custom_config: {sorted(own)}. The "
                "adapter sets them itself."
            )
        self._config = config
        self._app: Any = None
        self._worker: Any = None
        self._thread: threading.Thread | None = None

    def initialize(self, consumer_concurrency: int = 5) -> None:
        """Make the Celery app; the broker is connected when it is first used."""
        config = self._config
        given: CeleryAdapterConfig = config.adapter_config
        self._app = Celery(config.queue_name, backend=given.backend_url, broker=given.broker_url)
        names = [config.queue_name, config.failed_task_queue_name, config.unprocessable_task_queue_name]
        self._app.conf.update(
            {
                CELERY_WORKER_POOL: "threads",
                CELERY_WORKER_CONCURRENCY: consumer_concurrency,
                CELERY_TASK_IGNORE_RESULT: False,
                CELERY_TASK_ACKS_LATE: True,
                CELERY_TASK_REJECT_ON_WORKER_LOST: True,
                "worker_hijack_root_logger": False,
                "task_routes": {"*": {"queue": config.queue_name}},
                "task_queues": {
                    name: {"exchange": name, "exchange_type": "direct", "routing_key": name}
                    for name in names
                    if name
                },
                **(given.app_custom_config or {}),
            }
        )
        if given.broker_transport_options is not None:
            self._app.conf.broker_transport_options = given.broker_transport_options
        if config.failed_task_queue_name:
            task_failure.connect(self._on_failure)
        if config.unprocessable_task_queue_name:
            task_unknown.connect(self._on_unknown)

    def register_task_handle(self, func: Callable[..., Any], name: str | None = None) -> None:
        """Have tasks of a name run a function.

        Raises:
            NotImplementedError: it is a coroutine function; Celery's workers have no event loop.
        """
        if inspect.iscoroutinefunction(func):
            raise NotImplementedError(
                f"The task handler {func.__qualname__} is a coroutine function, which Celery cannot run: make it a "
                "plain one, or use TaskiqTaskProcessorAdapter"
            )
        options: dict[str, Any] = {
            "shared": False,  # with other apps of this process
            "autoretry_for": (Exception,),
            "retry_kwargs": {"max_retries": self._config.max_retries},
            "retry_backoff": True,
            "retry_backoff_max": _LONGEST_PAUSE_S,
            "retry_jitter": False,
            **(self._config.adapter_config.task_custom_config or {}),
        }
        self._app.task(name=name or func.__name__, **options)(function_of(func))

    def enqueue_task_sync(
        self, task_name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue; `options` are Celery's ``apply_async``."""
        queue = self._config.queue_name
        sent = self._app.send_task(task_name, args=args, kwargs=kwargs, queue=queue, **options)
        return TaskResult(id=sent.id, status=sent.status, created_at=time.time(), result=sent.result)

    def get_task_status_sync(self, task_id: str) -> TaskResult:
        """What became of a task; status is Celery's: PENDING, RETRY, SUCCESS, FAILURE, REVOKED."""
        found = self._app.AsyncResult(task_id)
        return TaskResult(id=found.id, status=found.status, result=found.result)

    def start_consumer(self, **kwargs: Any) -> None:
        """Begin to work on the queue, on a thread. Nothing happens where it works already.

        Raises:
            RuntimeError: another adapter works in this process; Celery's workers share their state.
        """
        if self._thread is not None and self._thread.is_alive():
            return
        if any(thread.name == _THREAD and thread.is_alive() for thread in threading.enumerate()):
            raise RuntimeError(
                f"The queue {self._config.queue_name!r} cannot be worked on here: this process runs a Celery worker "
                "already"
            )
        self._app.set_default()  # where the worker's threads look for tasks
        celery.worker.state.should_stop = None
        self._worker = self._app.WorkController(
            app=self._app,
            hostname=f"celery@{self._config.queue_name}_{_replica_tag()}",
            queues=[self._config.queue_name],
            concurrency=self._app.conf.worker_concurrency,
        )
        self._thread = threading.Thread(target=self._worker.start, name=_THREAD, daemon=True)
        self._thread.start()

    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Take no more tasks; waits at most `timeout` seconds for those that run."""
        thread, self._thread = self._thread, None
        if thread is None or not thread.is_alive():
            return
        celery.worker.state.should_stop = 0  # the exit status of a warm shutdown
        thread.join(timeout)
        if thread.is_alive():
            logger.warning("The worker of queue %s still runs after %s s.", self._config.queue_name, timeout)

    def cancel_task_sync(self, task_id: str) -> bool:
        """Have workers pass a task over that has not begun; brokers with broadcasts only (Redis, RabbitMQ).

        Returns:
            True: the workers were told.
        """
        self._app.control.revoke(task_id)
        return True

    def get_metrics_sync(self) -> dict[str, Any]:
        """Celery's statistics of each worker that answers."""
        return self._app.control.inspect().stats() or {}

    def health_check_sync(self) -> list[dict[str, Any]]:
        """``{worker: {"ok": "pong"}}`` of each worker that answers."""
        return list(self._app.control.ping())

    def _on_failure(self, sender: Any = None, **facts: Any) -> None:
        """A task of any app of this process has failed for the last time."""
        if sender is not None and sender.app is self._app:
            error = facts["einfo"]
            told = [
                facts["task_id"],
                str(error.exception),
                str(facts["args"]),
                str(facts["kwargs"]),
                str(error),
            ]
            self._move(self._config.failed_task_queue_name, sender.name, told)

    def _on_unknown(self, sender: Any = None, **facts: Any) -> None:
        """A worker of this process has met a task without a handler."""
        if getattr(sender, "app", None) is self._app:
            told = [facts["name"], facts["id"], str(facts["message"]), str(facts["exc"])]
            self._move(self._config.unprocessable_task_queue_name, facts["name"], told)

    def _move(self, queue: str | None, task: str, args: list[Any]) -> None:
        logger.error("Task %s goes to the queue %s: %s", task, queue, args)
        self._app.send_task(task, queue=queue, args=args)


def _replica_tag() -> str:
    from narke.serve.api import get_replica_context
    from narke.serve.exceptions import RayServeException

    try:
        return str(get_replica_context().replica_tag)
    except RayServeException:  # not in a replica
        return uuid.uuid4().hex
