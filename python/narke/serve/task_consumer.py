"""Deployments that work on a queue of tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from narke.serve.config import import_attr
from narke.serve.schema import TaskProcessorAdapter, TaskProcessorConfig

__all__ = ["instantiate_adapter_from_config", "task_consumer", "task_handler"]

_CONCURRENCY = 5  # tasks that a process works on at once; a replica: its max_ongoing_requests
_NAME = "__serve_task_name__"


def instantiate_adapter_from_config(task_processor_config: TaskProcessorConfig) -> TaskProcessorAdapter:
    """The adapter that a config names, connected to its queue: to put tasks there, and to ask what became of them.

    Raises:
        TypeError: it names something else than a `TaskProcessorAdapter`.
        RuntimeError: it could not be made or connected; the text says why.
    """
    return _connected(task_processor_config, _CONCURRENCY)


def _connected(config: TaskProcessorConfig, concurrency: int) -> TaskProcessorAdapter:
    made = import_attr(config.adapter) if isinstance(config.adapter, str) else config.adapter
    name = getattr(made, "__name__", repr(made))
    try:
        adapter = made(config)
    except Exception as error:
        raise RuntimeError(f"Failed to instantiate {name}: {error}") from error
    if not isinstance(adapter, TaskProcessorAdapter):
        raise TypeError(f"{name} must inherit from TaskProcessorAdapter, got {type(adapter).__name__}")
    try:
        adapter.initialize(concurrency)
    except Exception as error:
        raise RuntimeError(f"Failed to initialize {name}: {error}") from error
    return adapter


def task_consumer(*, task_processor_config: TaskProcessorConfig) -> Callable[[type], type]:
    """A class whose replicas work on a queue: tasks run the methods that `task_handler` marks.

    Args:
        task_processor_config: which queue, and how; a replica works on `max_ongoing_requests` tasks at once.
    """

    def decorate(cls: type) -> type:
        return _consumer_of(cls, task_processor_config)

    return decorate


def _consumer_of(cls: type, config: TaskProcessorConfig) -> type:
    class Consumer(cls):  # type: ignore[misc, valid-type]
        def __serve_consume__(self, concurrency: int) -> None:
            """Begin to work on the queue; the replica calls it once the object is built."""
            self.__serve_adapter__ = _connected(config, concurrency)
            for name, function in inspect.getmembers(cls, inspect.isfunction):
                if task := getattr(function, _NAME, None):
                    self.__serve_adapter__.register_task_handle(getattr(self, name), task)
            self.__serve_adapter__.start_consumer()

        def __del__(self) -> None:
            adapter = self.__dict__.pop("__serve_adapter__", None)
            if adapter is not None:
                adapter.stop_consumer()
            if (delete := getattr(super(), "__del__", None)) is not None:
                delete()

    return functools.update_wrapper(Consumer, cls, updated=())  # type: ignore[return-value, arg-type]


def task_handler(_func: Callable[..., Any] | None = None, *, name: str | None = None) -> Callable[..., Any]:
    """A method that tasks run.

    Args:
        name: of the tasks; the method's by default.

    Raises:
        ValueError: the name is empty.
    """
    if name is not None and (not isinstance(name, str) or not name.strip()):
        raise ValueError(f"Task name must be a non-empty string, got {name}")

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        setattr(function, _NAME, name or function.__name__)
        return function

    return mark if _func is None else mark(_func)
