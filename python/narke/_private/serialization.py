"""Pickling of what the native codec does not take apart itself: cloudpickle with registered reducers."""

from __future__ import annotations

import io
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

import cloudpickle
from cloudpickle import CloudPickler

__all__ = [
    "cloud_pickle",
    "deregister_serializer",
    "explain",
    "rebuild_ref",
    "register_serializer",
]

_FUNCTION_WARN_BYTES = 1 << 20
_FUNCTION_MAX_BYTES = 95 << 20
_serializers: dict[type, tuple[Callable[[Any], Any], Callable[[Any], Any]]] = {}


class _Pickler(CloudPickler):  # type: ignore[misc]
    """CloudPickler that asks the registered serializers first."""

    def reducer_override(self, obj: Any) -> Any:
        cls = type(obj)
        pair = _serializers.get(cls)
        if pair is not None:
            serializer, deserializer = pair
            return deserializer, (serializer(obj),)
        if cls.__module__.startswith("torch"):
            from narke._private.tensors import reduce_tensor

            reduced = reduce_tensor(obj)
            if reduced is not None:
                return reduced
        if cls.__module__ == "pyarrow.lib":
            from narke._private.arrow_slices import reduce_slice

            reduced = reduce_slice(obj)
            if reduced is not None:
                return reduced
        return super().reducer_override(obj)


def cloud_pickle(obj: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle anything, classes and functions of ``__main__`` by value.

    Args:
        obj: the value.
        buffer_callback: takes each big buffer instead of the pickle; None keeps them inside.

    Raises:
        whatever the value's own reducers raise; TypeError for what cannot be pickled.
    """
    with io.BytesIO() as file:
        _Pickler(file, protocol=5, buffer_callback=buffer_callback).dump(obj)
        return file.getvalue()


def register_serializer(
    cls: type, *, serializer: Callable[[Any], Any], deserializer: Callable[[Any], Any]
) -> None:
    """Pickle instances of exactly this class through `serializer`, read them through `deserializer`."""
    _serializers[cls] = (serializer, deserializer)
    _tell_native(cls)


def deregister_serializer(cls: type) -> None:
    """Forget the serializer of a class; nothing happens when it has none."""
    _serializers.pop(cls, None)


def _tell_native(cls: type) -> None:
    from narke import _native

    _native.value_needs_reducer(cls)


def rebuild_ref(id: bytes, owner: bytes) -> Any:
    """The ObjectRef that `ObjectRef.__reduce__` took apart."""
    from narke import _native

    return _native.rebuild_ref(id, owner)


def ref_outside(ref: Any) -> None:
    """Called when an ObjectRef is pickled elsewhere than in a call's arguments or a stored value.

    Raises:
        narke.exceptions.OufOfBandObjectRefSerializationException: RAY_allow_out_of_band_object_ref_serialization=0.
    """
    if os.environ.get("RAY_allow_out_of_band_object_ref_serialization", "1").lower() in ("0", "false"):
        from narke.exceptions import OufOfBandObjectRefSerializationException

        raise OufOfBandObjectRefSerializationException(
            f"{ref!r} is pickled outside of a call's arguments or a stored value, where nobody counts the copy: pass "
            "it as an argument, or return or put() it."
        )


def export_pickle(target: Any, kind: str, name: str) -> bytes:
    """Pickle a function or class for the workers, and say so when it is suspiciously big.

    Raises:
        ValueError: it is over the limit.
        TypeError: it cannot be pickled; the text names the culprit.
    """
    try:
        pickled = cloud_pickle(target)
    except Exception as error:
        raise explain(target, error, f"the {kind} {name}") from error
    if len(pickled) > _FUNCTION_MAX_BYTES:
        raise ValueError(
            f"The {kind} {name} is too large ({len(pickled) >> 20} MiB > {_FUNCTION_MAX_BYTES >> 20} MiB). "
            "It captures a big object from its scope: store that once with put() and pass the reference."
        )
    if len(pickled) > _FUNCTION_WARN_BYTES:
        import warnings

        warnings.warn(
            f"The {kind} {name} is very large ({len(pickled) >> 20} MiB). It probably captures a big array or "
            "another object from its scope. Tip: use put() to store large objects in the object store.",
            stacklevel=2,
        )
    return pickled


def explain(value: Any, exc: BaseException, what: str | None = None) -> BaseException:
    """The exception for a value that does not pickle.

    Args:
        value: what was to be pickled.
        exc: what pickling raised.
        what: the value's role, such as ``"the function f"``; None for a value.

    Returns:
        a TypeError that names the culprit inside the value; `exc` itself when it is no failure of pickling.
    """
    if not isinstance(exc, (TypeError, pickle.PicklingError, AttributeError, RecursionError)):
        return exc
    from narke._private.culprit import find_culprit

    culprit = find_culprit(value, cloud_pickle)
    role = what or f"the value {_short(value)}"
    found = f" The culprit is {culprit}." if culprit else ""
    error = TypeError(
        f"Could not serialize {role}: {exc}.{found} Leave it out, create it inside the task, or give its class a "
        "__reduce__; narke.util.inspect_serializability shows more."
    )
    error.__cause__ = exc
    return error


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def pickle_by_value(module_name: str) -> None:
    """Send what a module defines by value: for modules that the workers cannot import."""
    module = sys.modules.get(module_name)
    if module is not None and module_name != "__main__":
        cloudpickle.register_pickle_by_value(module)
