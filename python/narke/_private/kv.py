"""The cluster's key-value table: bytes to bytes, in namespaces."""

from __future__ import annotations

from typing import Any

from narke._private import session

__all__ = ["delete", "exists", "get", "keys", "put"]


def _call(method: str, **body: Any) -> dict[str, Any]:
    return session.native().control(method, body)


def _bytes(text: bytes | str | None) -> bytes:
    return text.encode() if isinstance(text, str) else bytes(text or b"")


def put(
    key: bytes | str, value: bytes | str, *, overwrite: bool = True, namespace: bytes | str | None = None
) -> bool:
    """Store a value; returns whether the key existed before (and, without `overwrite`, was left as it was)."""
    answer = _call(
        "kv_put", key=_bytes(key), value=_bytes(value), overwrite=overwrite, namespace=_bytes(namespace)
    )
    return not answer["added"]


def get(key: bytes | str, *, namespace: bytes | str | None = None) -> bytes | None:
    """The value of a key; None when there is none."""
    return _call("kv_get", key=_bytes(key), namespace=_bytes(namespace)).get("value")


def exists(key: bytes | str, *, namespace: bytes | str | None = None) -> bool:
    """Whether a key has a value."""
    return bool(_call("kv_exists", key=_bytes(key), namespace=_bytes(namespace))["exists"])


def delete(key: bytes | str, *, by_prefix: bool = False, namespace: bytes | str | None = None) -> int:
    """Remove a key, or all that begin with it; returns how many there were."""
    return int(_call("kv_del", key=_bytes(key), by_prefix=by_prefix, namespace=_bytes(namespace))["removed"])


def keys(prefix: bytes | str, *, namespace: bytes | str | None = None) -> list[bytes]:
    """The keys that begin with `prefix`."""
    return list(_call("kv_keys", prefix=_bytes(prefix), namespace=_bytes(namespace))["keys"])
