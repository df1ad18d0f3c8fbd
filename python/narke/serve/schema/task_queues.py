"""Queues of tasks that deployments work on."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from narke.serve._private.models import Model

__all__ = ["CeleryAdapterConfig", "TaskProcessorAdapter", "TaskProcessorConfig", "TaskResult"]


class CeleryAdapterConfig(Model):
    """Where Celery finds its broker and results."""

    app_custom_config: dict[str, Any] | None = None
    task_custom_config: dict[str, Any] | None = None
    broker_url: str
    backend_url: str
    broker_transport_options: dict[str, Any] | None = None


class TaskProcessorConfig(Model):
    """A queue of tasks and how it is worked on."""

    queue_name: str
    adapter: str | Callable[..., Any] = "ray.serve.task_processor.CeleryTaskProcessorAdapter"
    adapter_config: Any
    max_retries: int | None = 3
    failed_task_queue_name: str | None = None
    unprocessable_task_queue_name: str | None = None


class TaskResult(Model):
    """What became of a task."""

    id: str
    status: str
    created_at: float | None = None
    result: Any


class TaskProcessorAdapter(ABC):
    """Between Serve and a task queue."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arguments = args, kwargs

    @abstractmethod
    def initialize(self, consumer_concurrency: int = 5) -> None:
        """Connect to the queue."""

    @abstractmethod
    def register_task_handle(self, func: Callable[..., Any], name: str | None = None) -> None:
        """Have tasks of a name run a function."""

    @abstractmethod
    def enqueue_task_sync(
        self, task_name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue."""

    @abstractmethod
    def get_task_status_sync(self, task_id: str) -> TaskResult:
        """What became of a task."""

    @abstractmethod
    def start_consumer(self, **kwargs: Any) -> None:
        """Begin to work on the queue."""

    @abstractmethod
    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Stop working; waits at most `timeout` seconds."""

    @abstractmethod
    def cancel_task_sync(self, task_id: str) -> bool:
        """Cancel a task; whether that was possible."""

    @abstractmethod
    def get_metrics_sync(self) -> dict[str, Any]:
        """Numbers of the queue."""

    @abstractmethod
    def health_check_sync(self) -> list[dict[str, Any]]:
        """What the workers answer."""

    async def enqueue_task_async(
        self, task_name: str, args: Any = None, kwargs: Any = None, **options: Any
    ) -> TaskResult:
        """Put a task into the queue, in a thread."""
        return await asyncio.to_thread(self.enqueue_task_sync, task_name, args, kwargs, **options)

    async def get_task_status_async(self, task_id: str) -> TaskResult:
        """What became of a task, asked in a thread."""
        return await asyncio.to_thread(self.get_task_status_sync, task_id)

    async def cancel_task_async(self, task_id: str) -> bool:
        """Cancel a task, in a thread."""
        return await asyncio.to_thread(self.cancel_task_sync, task_id)

    async def get_metrics_async(self) -> dict[str, Any]:
        """Numbers of the queue, asked in a thread."""
        return await asyncio.to_thread(self.get_metrics_sync)

    async def health_check_async(self) -> list[dict[str, Any]]:
        """What the workers answer, asked in a thread."""
        return await asyncio.to_thread(self.health_check_sync)
