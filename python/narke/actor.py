"""Actors: classes whose instances live in a process of their own and answer method calls as tasks."""

from __future__ import annotations

import functools
import inspect
import pickle
import types
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from narke._private import options as _options
from narke._private import tracing
from narke._private.signatures import Signature

__all__ = [
    "ActorClass",
    "ActorClassInheritanceException",
    "ActorHandle",
    "ActorMethod",
    "ActorProxy",
    "exit_actor",
    "method",
]

T = TypeVar("T")
_SPECIAL_METHODS = ("__ray_terminate__", "__ray_ready__", "__ray_call__")


class ActorClassInheritanceException(TypeError):
    """A class statement names an actor class as a base."""


def method(*args: Any, **kwargs: Any) -> Any:
    """Set defaults for calls of one method of an actor class.

    Args:
        num_returns: number of ObjectRefs a call returns, or ``"streaming"``.
        concurrency_group: group of the class's ``concurrency_groups`` that the method runs in.
        max_task_retries: how often a call is retried when the actor restarts or loses its connection.
        retry_exceptions: whether (or for which exception types) a raised exception is retried.
        enable_task_events: whether calls show up in the state API.
        tensor_transport: how tensors travel; only the object store is available.

    Returns:
        the method, marked; a decorator when used with parentheses.

    Raises:
        AssertionError: a keyword is unknown.
    """
    if len(args) == 1 and not kwargs and callable(args[0]):
        return args[0]
    valid = [name for name in _options.METHOD_OPTIONS if name not in ("name", "_labels")]
    if args or not kwargs:
        raise AssertionError(f"@method takes keyword arguments only, one or more of {valid}")
    for name in kwargs:
        if name not in valid:
            raise AssertionError(
                f"Unexpected keyword argument to @ray.method: '{name}'. The supported keyword arguments are {valid}"
            )
    _options.check_method_options(kwargs)

    def mark(function: Callable[..., Any]) -> Callable[..., Any]:
        function.__narke_method_options__ = dict(kwargs)  # type: ignore[attr-defined]
        return function

    return mark


class MethodInfo:
    """What a handle knows of one method."""

    __slots__ = ("is_generator", "options", "signature")

    def __init__(self, signature: Signature | None, options: dict[str, Any], is_generator: bool) -> None:
        self.signature = signature
        self.options = options
        self.is_generator = is_generator

    def __reduce__(self) -> tuple[Any, ...]:
        return MethodInfo, (self.signature, self.options, self.is_generator)


class ActorInfo:
    """What a handle knows of its actor's class.

    Attributes:
        class_name: the class's name.
        methods: name to `MethodInfo`.
        defaults: options of the actor that its calls inherit.
    """

    def __init__(self, class_name: str, methods: dict[str, MethodInfo], defaults: dict[str, Any]) -> None:
        self.class_name = class_name
        self.methods = methods
        self.defaults = defaults
        self._pickled: bytes | None = None

    def pickled(self) -> bytes:
        """The info as bytes; the same for all handles of one class."""
        if self._pickled is None:
            from narke._private.serialization import cloud_pickle

            self._pickled = cloud_pickle((self.class_name, self.methods, self.defaults))
        return self._pickled

    @classmethod
    def from_pickled(cls, pickled: bytes) -> ActorInfo:
        """Read what `pickled` gave."""
        return _read_info(pickled)


@functools.lru_cache(maxsize=1024)
def _read_info(pickled: bytes) -> ActorInfo:
    info = ActorInfo(*pickle.loads(pickled))
    info._pickled = pickled
    return info


class _ActorClassMetadata:
    """What an `ActorClass` remembers of the decorated class.

    Attributes:
        modified_class: the class itself.
        class_name: its name.
        methods: name to `MethodInfo`.
        is_async: whether a method is a coroutine or an async generator.
    """

    def __init__(self, cls: type) -> None:
        self.modified_class = cls
        self.class_name = cls.__name__
        self._export: tuple[bytes, bytes] | None = None

    # Found out late: a class that refers to itself is rebuilt before it has its methods.
    @functools.cached_property
    def methods(self) -> dict[str, MethodInfo]:
        cls = self.modified_class
        return {name: _method_info(cls, name, function) for name, function in _functions_of(cls).items()}

    @functools.cached_property
    def is_async(self) -> bool:
        return any(_is_async(function) for function in _functions_of(self.modified_class).values())

    @functools.cached_property
    def init_signature(self) -> Signature | None:
        return _init_signature(self.modified_class)

    def export(self) -> tuple[bytes, bytes]:
        """(content id of 16 bytes, pickled class)."""
        if self._export is None:
            import hashlib

            from narke._private.serialization import export_pickle

            pickled = export_pickle(self.modified_class, "actor class", self.class_name)
            self._export = hashlib.blake2b(pickled, digest_size=16).digest(), pickled
        return self._export


def _functions_of(cls: type) -> dict[str, Callable[..., Any]]:
    members = (
        inspect.getmembers_static(cls) if hasattr(inspect, "getmembers_static") else inspect.getmembers(cls)
    )
    found: dict[str, Callable[..., Any]] = {}
    for name, member in members:
        function = getattr(member, "__func__", member)
        if inspect.isfunction(function) or type(function).__name__ == "cython_function_or_method":
            found[name] = function
    return found


def _method_info(cls: type, name: str, function: Callable[..., Any]) -> MethodInfo:
    static = isinstance(inspect.getattr_static(cls, name), staticmethod)
    inner = inspect.unwrap(function)
    generator = inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)
    options = getattr(function, "__narke_method_options__", {})
    return MethodInfo(Signature.of(function, skip_first=not static), options, generator)


def _is_async(function: Callable[..., Any]) -> bool:
    inner = inspect.unwrap(function)
    return inspect.iscoroutinefunction(inner) or inspect.isasyncgenfunction(inner)


def _init_signature(cls: type) -> Signature | None:
    init = cls.__init__  # type: ignore[misc]
    if init is object.__init__ and cls.__new__ is object.__new__:
        return Signature(())
    return Signature.of(init, skip_first=True) if init is not object.__init__ else None


class ActorClass(Generic[T]):
    """A class whose instances are actors: ``Counter.remote(1)`` starts one and returns its `ActorHandle`.

    Made by `narke.remote`. Attributes of the decorated class (constants, static methods) can be read from it.
    """

    def __init__(self, name: str, bases: tuple[Any, ...], attr: dict[str, Any]) -> None:
        # Python comes here for `class B(SomeActorClass)`.
        parents = [base for base in bases if isinstance(base, ActorClass)]
        parent = parents[0].__ray_metadata__.class_name if parents else name
        raise ActorClassInheritanceException(
            f"Attempted to define subclass '{name}' of actor class '{parent}'. Inheriting from actor classes is not "
            "currently supported. Inherit from the plain class, and decorate both with @remote."
        )

    @classmethod
    def _of(cls, target: type, options: dict[str, Any]) -> ActorClass[Any]:
        _options.check_actor_options(options)
        kind = type(f"ActorClass({target.__name__})", (cls,), {"__module__": target.__module__})
        actor_class: ActorClass[Any] = object.__new__(kind)
        actor_class._set(target, dict(options))
        return actor_class

    def _set(self, target: type, options: dict[str, Any]) -> None:
        self.__ray_metadata__ = _ActorClassMetadata(target)
        self._default_options = options
        self.__doc__ = getattr(target, "__doc__", None)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: an actor starts only through ``.remote()``."""
        name = self.__ray_metadata__.class_name
        raise TypeError(
            f"Actors cannot be instantiated directly. Instead of '{name}()', use '{name}.remote()'."
        )

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *dir(self.__ray_metadata__.modified_class)})

    def __getattr__(self, name: str) -> Any:
        if name == "__ray_metadata__":  # not set yet, while unpickling
            raise AttributeError(name)
        value = getattr(self.__ray_metadata__.modified_class, name)
        static = inspect.getattr_static(self.__ray_metadata__.modified_class, name, None)
        # A method is bound, as on an instance: were it the function itself, pickling would take it for one that can
        # be imported under this name, and give it the importer's class in place of the exported one.
        return types.MethodType(value, self) if inspect.isfunction(static) else value

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[T]:
        """Start an actor.

        Args:
            args: positional arguments of the class's ``__init__``.
            kwargs: keyword arguments of it.

        Returns:
            the actor's handle, at once; the actor is ended when its last handle is gone, unless it is detached.

        Raises:
            TypeError: the arguments do not fit ``__init__``.
            narke.exceptions.ActorAlreadyExistsError: the name is taken.
        """
        return self._remote(args, kwargs)

    def options(self, **actor_options: Any) -> _ActorOptions:
        """The same class with other options: ``Counter.options(name="c").remote(1)``.

        Args:
            actor_options: any option of `narke.remote` for actors except ``concurrency_groups``.

        Returns:
            an object with ``remote`` and ``bind``.

        Raises:
            TypeError, ValueError: an option is unknown or its value is not possible.
        """
        _options.check_actor_options(actor_options, in_options=True)
        return _ActorOptions(self, _options.merge_options(self._default_options, actor_options))

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that stands for an actor of this class; see `narke.dag`."""
        from narke.dag import ClassNode

        return ClassNode(self.__ray_metadata__.modified_class, args, kwargs, self._default_options)

    def _remote(
        self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **actor_options: Any
    ) -> ActorHandle[T]:
        """Start an actor with arguments and options given apart."""
        from narke._private.actor_creation import create

        options = self._default_options
        if actor_options:
            _options.check_actor_options(actor_options, in_options=True)
            options = _options.merge_options(options, actor_options)
        return create(self.__ray_metadata__, options, tuple(args), kwargs or {})

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_actor_class, (self.__ray_metadata__.modified_class, self._default_options)


def _rebuild_actor_class(target: type, options: dict[str, Any]) -> ActorClass[Any]:
    return ActorClass._of(target, options)


class _ActorOptions:
    """An actor class with some options replaced."""

    def __init__(self, actor_class: ActorClass[Any], options: dict[str, Any]) -> None:
        self._actor_class = actor_class
        self._options = options

    def remote(self, *args: Any, **kwargs: Any) -> ActorHandle[Any]:
        """Start an actor with these options; see `ActorClass.remote`."""
        from narke._private.actor_creation import create

        return create(self._actor_class.__ray_metadata__, self._options, args, kwargs)

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that stands for an actor with these options."""
        from narke.dag import ClassNode

        return ClassNode(self._actor_class.__ray_metadata__.modified_class, args, kwargs, self._options)


class ActorHandle(Generic[T]):
    """Refers to an actor: ``handle.method.remote(...)`` calls it. Handles pickle, and count as references to it."""

    _ref: Any
    _info: ActorInfo

    def __init__(self, ref: Any, info: ActorInfo) -> None:
        fields = self.__dict__
        fields["_ref"] = ref
        fields["_info"] = info

    def __getattr__(self, item: str) -> ActorMethod:
        # Only for names not cached in the instance yet.
        info = self.__dict__.get("_info")
        if info is None or (item not in info.methods and item not in _SPECIAL_METHODS):
            raise AttributeError(f"'ActorHandle' object has no attribute '{item}'")
        method_info = info.methods.get(item) or MethodInfo(None, {}, False)
        bound = ActorMethod._of(self._ref, info, item, method_info)
        self.__dict__[item] = bound
        return bound

    @property
    def _actor_id(self) -> Any:
        from narke.ids import ActorID

        return ActorID(self._ref.actor_id)

    _ray_actor_id = _actor_id

    @property
    def _ray_actor_creation_function_descriptor(self) -> str:
        return self._info.class_name

    def __dir__(self) -> list[str]:
        return sorted([*self._info.methods, *_SPECIAL_METHODS])

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ActorHandle) and self._ref.actor_id == other._ref.actor_id

    def __hash__(self) -> int:
        return hash(self._ref.actor_id)

    def __repr__(self) -> str:
        return f"Actor({self._info.class_name}, {self._ref.actor_id.hex()})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_handle, (self._ref, self._info.pickled())


ActorProxy = ActorHandle
"""A handle typed with the actor's class, for type checkers: ``ActorProxy[Counter]``."""


def _rebuild_handle(ref: Any, pickled_info: bytes) -> ActorHandle[Any]:
    return ActorHandle(ref, _read_info(pickled_info))


class ActorMethod:
    """A method of an actor, as a handle gives it.

    Attributes:
        remote: calls the method with the given arguments; returns an ObjectRef, a list of them, None, or an
            ObjectRefGenerator, as ``num_returns`` says.
    """

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        """Call the method; every instance has the extension's call object in place of this."""
        return self._make_call()(*args, **kwargs)

    def __init__(self, actor: ActorHandle[Any], method_name: str, **options: Any) -> None:
        info = actor._info.methods.get(method_name) or MethodInfo(None, {}, False)
        self._set(actor._ref, actor._info, method_name, info, options)

    @classmethod
    def _of(cls, ref: Any, info: ActorInfo, name: str, method_info: MethodInfo) -> ActorMethod:
        self = cls.__new__(cls)
        self._set(ref, info, name, method_info, {})
        return self

    def _set(
        self, ref: Any, info: ActorInfo, name: str, method_info: MethodInfo, options: dict[str, Any]
    ) -> None:
        # No reference to the handle, which caches this object: a cycle would keep the actor alive.
        self._ref = ref
        self._info = info
        self._method_name = name
        self._method_info = method_info
        self._options = {**method_info.options, **options}
        self.remote = self._make_call()  # type: ignore[method-assign]

    def _make_call(self) -> Any:
        from narke import _native

        call = _native.ActorCall(self._ref, self._method_name, self._call_options())
        if not tracing.is_on() or self._method_name in _SPECIAL_METHODS:
            return call
        name = f"{self._info.class_name}.{self._method_name}"
        return tracing.trace_call(call, name, "actor", self._method_info.signature)

    def _call_options(self) -> dict[str, Any]:
        from narke.remote_function import retry_types, returns_code

        options, defaults, signature = self._options, self._info.defaults, self._method_info.signature
        if tracing.is_on():
            signature = None  # whoever traces has checked
        retry = options.get("retry_exceptions", False)
        retries = options.get("max_task_retries")
        backpressure = options.get("_generator_backpressure_num_objects") or defaults.get("backpressure")
        return {
            "name": options.get("name") or f"{self._info.class_name}.{self._method_name}",
            "num_returns": returns_code(options.get("num_returns"), self._method_info.is_generator),
            "concurrency_group": options.get("concurrency_group") or "",
            "max_task_retries": defaults.get("max_task_retries", 0) if retries is None else retries,
            "retry_exceptions": retry if isinstance(retry, bool) else retry_types(retry),
            "backpressure": backpressure or -1,
            "max_pending_calls": defaults.get("max_pending_calls", -1),
            "arity": signature.arity if signature else (0, -1, True),
            "check": signature.check if signature else None,
        }

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse: a method of an actor runs only through ``.remote()``."""
        name = self._method_name
        raise TypeError(
            f"Actor methods cannot be called directly. Instead of running 'object.{name}()', try "
            f"'object.{name}.remote()'."
        )

    def options(self, **options: Any) -> ActorMethod:
        """The same method with other options: ``handle.f.options(num_returns=2).remote()``.

        Args:
            options: as of `method`, and ``name``, shown in the state API.

        Returns:
            an object with ``remote`` and ``bind``.

        Raises:
            TypeError, ValueError: an option is unknown or its value is not possible.
        """
        _options.check_method_options(options)
        changed = ActorMethod.__new__(ActorMethod)
        merged = {**self._options, **options}
        changed._set(self._ref, self._info, self._method_name, self._method_info, merged)
        return changed

    def bind(self, *args: Any, **kwargs: Any) -> Any:
        """A node of a graph that stands for a call of this method; see `narke.dag`."""
        from narke.dag.class_node import bind_method

        return bind_method(ActorHandle(self._ref, self._info), self._method_name, args, kwargs, self._options)

    def _remote(
        self, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None, **options: Any
    ) -> Any:
        """Call the method with arguments and options given apart."""
        call = self.options(**options) if options else self
        return call.remote(*args, **(kwargs or {}))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild_method, (ActorHandle(self._ref, self._info), self._method_name, self._options)


def _rebuild_method(handle: ActorHandle[Any], name: str, options: dict[str, Any]) -> ActorMethod:
    return ActorMethod(handle, name, **options)


def exit_actor() -> None:
    """End the actor that calls this, after the present method; it is not restarted.

    The caller of the present method gets an `ActorDiedError`, as do calls that wait.

    Raises:
        TypeError: the caller is no actor.
        AsyncioActorExit: to leave the method of an async actor.
    """
    from narke._private.execution import raise_exit

    raise_exit()


def _make_actor(cls: type, options: dict[str, Any]) -> ActorClass[Any]:
    """The actor class of a plain class; what `remote` does with classes."""
    return ActorClass._of(cls, options)
