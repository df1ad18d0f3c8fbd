"""On which nodes objects lie, and how big they are."""

from __future__ import annotations

from typing import Any

import narke

__all__ = ["get_local_object_locations", "get_object_locations"]


def get_object_locations(obj_refs: list[Any], timeout_ms: int = -1) -> dict[Any, dict[str, Any]]:
    """Ask the owners of objects where they lie.

    Args:
        obj_refs: references to the objects.
        timeout_ms: most milliseconds to wait; -1 for the engine's own deadline.

    Returns:
        For each reference ``node_ids`` (hexadecimal), ``object_size`` (bytes, None while unknown) and
        ``did_spill``.

    Raises:
        TypeError: an element is no reference.
    """
    return _described(_checked(obj_refs), timeout_ms, local_only=False)


def get_local_object_locations(obj_refs: list[Any]) -> dict[Any, dict[str, Any]]:
    """Return what this process itself knows of objects it holds references to; result as above."""
    return _described(_checked(obj_refs), 0, local_only=True)


def _checked(obj_refs: Any) -> list[Any]:
    refs = list(obj_refs)
    for ref in refs:
        if not isinstance(ref, narke.ObjectRef):
            raise TypeError(f"object locations are asked for by reference, got {type(ref).__name__}")
    return refs


def _described(refs: list[Any], timeout_ms: int, local_only: bool) -> dict[Any, dict[str, Any]]:
    if not narke.is_initialized():
        raise RuntimeError("object locations need a connection: call narke.init() first")
    found = _locations([ref.binary() for ref in refs], timeout_ms, local_only)
    return {ref: _location(entry) for ref, entry in zip(refs, found, strict=False)}


def _location(entry: dict[str, Any]) -> dict[str, Any]:
    nodes = [node.hex() if isinstance(node, bytes) else node for node in entry.get("node_ids") or ()]
    size = entry.get("object_size")
    return {
        "node_ids": nodes,
        "object_size": size if size is not None and size >= 0 else None,
        "did_spill": bool(entry.get("did_spill")),
    }


def _locations(ids: list[bytes], timeout_ms: int, local_only: bool) -> list[dict[str, Any]]:
    from narke._private import control

    return control.call("object_locations", ids=ids, timeout_ms=timeout_ms, local_only=local_only)[
        "locations"
    ]
