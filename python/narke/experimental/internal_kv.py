"""The key-value store that all processes of a cluster share."""

from __future__ import annotations

from typing import Any

import narke

__all__ = ["internal_kv_get_gcs_client"]

Text = str | bytes


class _ControlPlaneClient:
    """The store's operations by the names that programs know them by."""

    def internal_kv_get(
        self, key: bytes, namespace: bytes | None = None, timeout: float | None = None
    ) -> bytes | None:
        """Return the value, None without one."""
        return _get(key, namespace or b"")

    def internal_kv_put(
        self,
        key: bytes,
        value: bytes,
        overwrite: bool = True,
        namespace: bytes | None = None,
        timeout: float | None = None,
    ) -> int:
        """Store a value; returns 1 when the key is new."""
        return int(not _put(key, value, overwrite, namespace or b""))

    def internal_kv_del(
        self,
        key: bytes,
        del_by_prefix: bool = False,
        namespace: bytes | None = None,
        timeout: float | None = None,
    ) -> int:
        """Remove a key, or all that begin with it; returns how many."""
        return _delete(key, del_by_prefix, namespace or b"")

    def internal_kv_keys(
        self, prefix: bytes, namespace: bytes | None = None, timeout: float | None = None
    ) -> list[bytes]:
        """Return the keys that begin with `prefix`."""
        return _keys(prefix, namespace or b"")

    def internal_kv_exists(
        self, key: bytes, namespace: bytes | None = None, timeout: float | None = None
    ) -> bool:
        """Return whether the key has a value."""
        return _exists(key, namespace or b"")


_client = _ControlPlaneClient()


def internal_kv_get_gcs_client() -> Any:
    """Return an object with the store's operations as methods."""
    return _client


def _initialize_internal_kv(gcs_client: Any = None) -> None:
    """Accept a client for programs that pass one; the program's own connection is used."""


def _internal_kv_reset() -> None:
    """Nothing to forget: the program's own connection is used."""


def _internal_kv_initialized() -> bool:
    """Return whether the program is connected to a cluster."""
    return narke.is_initialized()


def _internal_kv_get(key: Text, *, namespace: Text | None = None) -> bytes | None:
    """Return the value of a key, None without one."""
    return _get(_bytes(key), _bytes(namespace or b""))


def _internal_kv_exists(key: Text, *, namespace: Text | None = None) -> bool:
    """Return whether a key has a value."""
    return _exists(_bytes(key), _bytes(namespace or b""))


def _internal_kv_put(
    key: Text, value: Text, overwrite: bool = True, *, namespace: Text | None = None
) -> bool:
    """Store a value; returns whether the key had one before.

    Args:
        key: the key.
        value: the value.
        overwrite: replace a value that is there.
        namespace: the key's namespace.

    Raises:
        TypeError: a key or value is neither str nor bytes.
    """
    return _put(_bytes(key), _bytes(value), overwrite, _bytes(namespace or b""))


def _internal_kv_del(key: Text, *, del_by_prefix: bool = False, namespace: Text | None = None) -> int:
    """Remove a key, or all that begin with it; returns how many were removed."""
    return _delete(_bytes(key), del_by_prefix, _bytes(namespace or b""))


def _internal_kv_list(prefix: Text, *, namespace: Text | None = None) -> list[bytes]:
    """Return the keys that begin with `prefix`."""
    return _keys(_bytes(prefix), _bytes(namespace or b""))


def _bytes(text: Text) -> bytes:
    if isinstance(text, str):
        return text.encode()
    if not isinstance(text, bytes):
        raise TypeError(f"keys, values and namespaces are str or bytes, got {type(text).__name__}")
    return text


def _store() -> Any:
    from narke._private import kv

    return kv


def _get(key: bytes, namespace: bytes) -> bytes | None:
    return _store().get(key, namespace=namespace)


def _put(key: bytes, value: bytes, overwrite: bool, namespace: bytes) -> bool:
    """True when the key had a value before."""
    return _store().put(key, value, overwrite=overwrite, namespace=namespace)


def _delete(key: bytes, by_prefix: bool, namespace: bytes) -> int:
    return int(_store().delete(key, by_prefix=by_prefix, namespace=namespace))


def _keys(prefix: bytes, namespace: bytes) -> list[bytes]:
    return list(_store().keys(prefix, namespace=namespace))


def _exists(key: bytes, namespace: bytes) -> bool:
    return bool(_store().exists(key, namespace=namespace))
