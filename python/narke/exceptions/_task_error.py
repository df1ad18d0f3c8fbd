"""Failures of the user's own code, which arrive as instances of the original exception's class as well."""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
import types
from typing import Any

from narke.exceptions._base import RayError, UserCodeException


class RayTaskError(RayError):
    """User code in a task or an actor's method raised an exception.

    `get` raises `as_instanceof_cause()` of it: an exception that is both a RayTaskError and an instance of the
    cause's class. ``str()`` is the remote traceback.

    Args:
        function_name: the function or method.
        traceback_str: the remote traceback as text.
        cause: the original exception.
        proctitle: title of the worker process.
        pid: its process id.
        ip: address of its node.
        actor_repr: ``repr`` of the actor, for a method.
        actor_id: the actor's id in hex, for a method.
    """

    def __init__(
        self,
        function_name: str,
        traceback_str: str,
        cause: BaseException,
        proctitle: str | None = None,
        pid: int | None = None,
        ip: str | None = None,
        actor_repr: str | None = None,
        actor_id: str | None = None,
    ) -> None:
        super().__init__(function_name, traceback_str, cause, proctitle, pid, ip)
        self.function_name = function_name
        self.traceback_str = traceback_str
        self.cause = cause
        self.proctitle = proctitle or " ".join(sys.orig_argv[:2])
        self.pid = pid or os.getpid()
        self.ip = ip or "127.0.0.1"
        self.actor_repr = actor_repr
        self._actor_id = actor_id

    def as_instanceof_cause(self) -> RayTaskError:
        """This error as an instance of the cause's class too; itself when that is impossible."""
        if isinstance(self.cause, RayTaskError):
            return self
        try:
            return self.make_dual_exception_instance()
        except Exception:
            # Classes may refuse to be derived from (final, slots, metaclasses, hooks that raise): the plain error
            # still says everything.
            return self

    def make_dual_exception_instance(self) -> RayTaskError:
        """An instance of a class that derives from RayTaskError and from the cause's class.

        Raises:
            TypeError: the cause's class cannot be derived from.
        """
        return _make_dual(self)

    def __str__(self) -> str:
        return self.traceback_str.rstrip()

    def __reduce__(self) -> tuple[Any, ...]:
        args = (
            self.function_name,
            self.traceback_str,
            _picklable_cause(self.cause),
            self.proctitle,
            self.pid,
            self.ip,
            self.actor_repr,
            self._actor_id,
        )
        return RayTaskError, args


def _dual_init(self: Any, error: RayTaskError) -> None:
    cause = error.cause
    self._task_error = error
    self.cause = cause


def _dual_getattr(self: Any, name: str) -> Any:
    # Only what neither class has comes here: attributes of the two instances.
    if name in ("_task_error", "cause"):
        raise AttributeError(name)
    error = self._task_error
    return getattr(error, name) if name in vars(error) else getattr(error.cause, name)


def _dual_args(self: Any) -> tuple[Any, ...]:
    return (self.cause,)


def _set_dual_args(self: Any, args: tuple[Any, ...]) -> None:
    """What a cause's constructor says of them is not the dual's."""


def _dual_str(self: Any) -> str:
    return str(self._task_error)


def _dual_repr(self: Any) -> str:
    return f"{type(self).__name__}({self.cause!r})"


def _dual_reduce(self: Any) -> tuple[Any, ...]:
    return _rebuild_dual, (self._task_error,)


def _rebuild_dual(error: RayTaskError) -> RayTaskError:
    return error.as_instanceof_cause()


_DUAL_METHODS = {
    "__module__": "narke.exceptions",
    "__init__": _dual_init,
    "args": property(_dual_args, _set_dual_args),  # the cause's class may have one that cannot be set
    "__getattr__": _dual_getattr,
    "__str__": _dual_str,
    "__repr__": _dual_repr,
    "__reduce__": _dual_reduce,
    "__reduce_ex__": lambda self, _protocol: _dual_reduce(self),
}


_dual_types: dict[type, type] = {}


def make_dual_exception_type(cause_class: type) -> type:
    """The class named ``RayTaskError(X)`` that derives from RayTaskError and from X, made once for each X."""
    dual = _dual_types.get(cause_class)
    if dual is None:
        bases = (cause_class,) if issubclass(cause_class, RayTaskError) else (RayTaskError, cause_class)
        dual = type(f"RayTaskError({cause_class.__name__})", bases, dict(_DUAL_METHODS))
        _dual_types[cause_class] = dual
    return dual


def _make_dual(error: RayTaskError) -> RayTaskError:
    dual = make_dual_exception_type(type(error.cause))
    try:
        instance = dual(error)
    except Exception:
        # A __new__ with other parameters, such as that of exception groups: the cause knows what it was made of.
        instance = dual.__new__(dual, *error.cause.args)  # type: ignore[call-overload]
        instance.__init__(error)  # type: ignore[misc]
    _copy_members(error.cause, instance)
    return instance


def _copy_members(cause: BaseException, instance: BaseException) -> None:
    """Give the dual what built-in classes keep outside of ``__dict__``, such as ``errno``."""
    for cls in type(cause).__mro__[:-3]:  # what Exception, BaseException and object keep is not the cause's
        for name, member in vars(cls).items():
            if isinstance(member, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                with contextlib.suppress(AttributeError, TypeError):  # not set, or read-only
                    setattr(instance, name, getattr(cause, name))


def _picklable_cause(cause: BaseException) -> Any:
    """The cause, or what unpickles to its like: an exception's own way to pickle fails for many constructors."""
    from narke._private.serialization import cloud_pickle

    try:
        pickle.loads(cloud_pickle(cause))
    except Exception:
        return _Portable(cause)
    return cause


class _Portable:
    """Pickles to an exception of the same class with the same arguments and attributes, without its constructor."""

    def __init__(self, exception: BaseException) -> None:
        self._exception = exception

    def __reduce__(self) -> tuple[Any, ...]:
        exception = self._exception
        cls: Any = type(exception) if _pickles(type(exception)) else UserCodeException
        args = tuple(arg if _pickles(arg) else repr(arg) for arg in exception.args)
        if cls is UserCodeException:
            args = (f"{type(exception).__name__}: {exception}",)
        state = {name: value for name, value in vars(exception).items() if _pickles(value)}
        return _rebuild_exception, (cls, args, state)


def _rebuild_exception(
    cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]
) -> BaseException:
    exception = cls.__new__(cls, *args)
    BaseException.args.__set__(exception, args)  # type: ignore[attr-defined]  # also where its class has its own
    vars(exception).update(state)
    return exception


def _pickles(value: Any) -> bool:
    from narke._private.serialization import cloud_pickle

    try:
        pickle.loads(cloud_pickle(value))
    except Exception:
        return False
    return True
