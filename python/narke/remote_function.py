"""Remote functions: what `@remote` makes of a function."""

from __future__ import annotations

import copyreg
import functools
import inspect
from collections.abc import Callable
from typing import Any

from narke._private import options as _options
from narke._private import tracing
from narke._private.calls import task_call
from narke._private.signatures import Signature

__all__ = ["RemoteFunction"]


class RemoteFunction:
    """A function whose calls run as tasks: ``f.remote(...)`` returns at once with an ObjectRef.

    Made by `narke.remote`. It pickles, so tasks can call each other and themselves.

    Attributes:
        remote: submits a task with the given arguments; an ObjectRef among them is replaced by its value.
    """

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise ValueError(
                "'async def' should not be used for remote tasks. You can wrap the async function with "
                "`asyncio.run(f())`, or make it a method of an actor: those may be async."
            )
        _options.check_task_options(options)
        self._set(function, dict(options))

    def _set(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        functools.update_wrapper(self, function, updated=())
        self._function = function
        self._default_options = options
        self._export: _Export | None = None
        self.remote = self._make_call(self, options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a remote function runs only through ``.remote()``."""
        name = self._function_name
        raise TypeError(
            f"Remote functions cannot be called directly. Instead of running '{name}()', try '{name}.remote()'."
        )

    @property
    def _function_name(self) -> str:
        return (
            f"{self._function.__module__}.{getattr(self._function, '__qualname__', self._function.__name__)}"
        )

    def options(self, **task_options: Any) -> _FunctionOptions:
        """The same function with other options: ``f.options(num_cpus=2).remote(x)``.

        Args:
            task_options: any option of `narke.remote` for functions; they replace those of the decorator.

        Returns:
            an object with ``remote`` and ``bind``.

        Raises:
            TypeError, ValueError: an option is unknown or its value is not possible.
        """
        _options.check_task_options(task_options, in_options=True)
        return _FunctionOptions(self, _options.merge_options(self._default_options, task_options))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that stands for a call of this function; see `narke.dag`."""
        from narke.dag import FunctionNode

        return FunctionNode(self._function, args, kwargs, self._default_options)

    def _remote(
        self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **task_options: Any
    ) -> Any:
        """Submit a task with arguments and options given apart."""
        call = self.options(**task_options) if task_options else self
        return call.remote(*args, **(kwargs or {}))

    def _make_call(self, owner: Any, options: dict[str, Any]) -> Any:
        call = task_call(owner, functools.partial(self._describe, options), self._function)
        if not tracing.is_on():
            return call
        return tracing.trace_call(call, self._function_name, "task", Signature.of(self._function))

    def _describe(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the extension must know to submit tasks of this function; connects when nothing is connected."""
        from narke._private import session, strategies

        session.connected()
        if self._export is None:
            self._export = _Export(self._function, self._function_name)
        export = self._export
        retry = options.get("retry_exceptions", False)
        signature = None if tracing.is_on() else export.signature  # whoever traces has checked
        resources = _options.task_resources(options)
        return {
            "function_id": export.id,
            "pickled": export.pickled,
            "name": options.get("name") or self._function.__name__,
            "function_name": self._function.__name__,
            "num_returns": returns_code(options.get("num_returns"), export.is_generator),
            "resources": resources,
            "max_retries": _max_retries(options),
            "retry_exceptions": retry if isinstance(retry, bool) else retry_types(retry),
            "runtime_env": inherited_env(options.get("runtime_env"), options.get("_preload")),
            "max_calls": _max_calls(options),
            "backpressure": options.get("_generator_backpressure_num_objects") or -1,
            "arity": signature.arity if signature else (0, -1, True),
            "check": signature.check if signature else None,
            **strategies.placement(options, resources),
        }

    def __getstate__(self) -> dict[str, Any]:
        return {"function": self._function, "options": self._default_options}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._set(state["function"], state["options"])

    def __reduce_ex__(self, protocol: Any) -> Any:
        # Made empty first and filled afterwards: a function may refer to itself.
        return copyreg.__newobj__, (RemoteFunction,), self.__getstate__()  # type: ignore[attr-defined]


class _FunctionOptions:
    """A remote function with some options replaced."""

    def __init__(self, function: RemoteFunction, options: dict[str, Any]) -> None:
        self._remote_function = function
        self._options = options
        self.remote = function._make_call(self, options)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that stands for a call with these options."""
        from narke.dag import FunctionNode

        return FunctionNode(self._remote_function._function, args, kwargs, self._options)


class _Export:
    """A function as the workers get it."""

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        import hashlib

        from narke._private.serialization import export_pickle

        self.pickled = export_pickle(function, "remote function", name)
        self.id = hashlib.blake2b(self.pickled, digest_size=16).digest()
        self.signature = Signature.of(function)
        self.is_generator = inspect.isgeneratorfunction(inspect.unwrap(function))


def returns_code(num_returns: Any, is_generator: bool) -> int:
    """`num_returns` as the engine takes it: -1 for streaming, -2 for dynamic."""
    if num_returns is None:
        return -1 if is_generator else 1
    return {"streaming": -1, "dynamic": -2}.get(num_returns, num_returns)


def retry_types(types: Any) -> bytes:
    """The exception types to retry on, pickled."""
    from narke._private.serialization import cloud_pickle

    return cloud_pickle(tuple(types))


def _max_calls(options: dict[str, Any]) -> int:
    """Calls after which a worker ends; one that used a GPU ends with its task, so that the memory there is free."""
    chosen = options.get("max_calls")
    if chosen is None:
        return 1 if (options.get("num_gpus") or 0) > 0 else 0
    return int(chosen)


def _max_retries(options: dict[str, Any]) -> int:
    retries = options.get("max_retries", 3)
    if retries is None:
        import os

        retries = int(os.environ.get("RAY_TASK_MAX_RETRIES", "3"))
    return retries


def inherited_env(runtime_env: Any, modules: tuple[str, ...] | None = None) -> str:
    """What the node is told of the workers for a task or actor.

    Args:
        runtime_env: its runtime environment, over what this program runs in.
        modules: what such workers had better have imported (`narke._private.preloads`).
    """
    from narke._private.runtime_envs import inherit, text_of

    env = inherit(runtime_env)
    text = text_of(env)
    if not modules:
        return text
    from narke._private import preloads, session

    return preloads.worker_kind(modules, env or session.connected().runtime_env, text)
