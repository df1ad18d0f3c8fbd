"""On which nodes objects lie, and how big they are."""

from __future__ import annotations

from typing import Any

import narke
from narke._private import session

__all__ = ["get_local_object_locations", "get_object_locations"]


def get_object_locations(obj_refs: list[Any], timeout_ms: int = -1) -> dict[Any, dict[str, Any]]:
    """Ask the owners of objects where they lie.

    Args:
        obj_refs: references to the objects.
        timeout_ms: has no effect: what is known is there without waiting.

    Returns:
        For each reference ``node_ids`` (hexadecimal), ``object_size`` (bytes, None while unknown) and
        ``did_spill``.

    Raises:
        TypeError: an element is no reference.
    """
    return _described(_checked(obj_refs))


def get_local_object_locations(obj_refs: list[Any]) -> dict[Any, dict[str, Any]]:
    """Return what this process itself knows of objects it holds references to; result as above."""
    return _described(_checked(obj_refs))


def _checked(obj_refs: Any) -> list[Any]:
    refs = list(obj_refs)
    for ref in refs:
        if not isinstance(ref, narke.ObjectRef):
            raise TypeError(f"object locations are asked for by reference, got {type(ref).__name__}")
    return refs


def _described(refs: list[Any]) -> dict[Any, dict[str, Any]]:
    if not narke.is_initialized():
        raise RuntimeError("object locations need a connection: call narke.init() first")
    native = session.native()
    found = [native.location(ref) for ref in refs]
    spilled = _spilled() if any(state == "store" for state, _ in found) else set()
    here = narke.get_runtime_context().get_node_id()
    return {
        ref: _location(state, size_bytes, here, ref.hex() in spilled)
        for ref, (state, size_bytes) in zip(refs, found, strict=True)
    }


def _location(state: str, size_bytes: int, node_id: str, spilled: bool) -> dict[str, Any]:
    if state == "pending":
        return {"node_ids": [], "object_size": None, "did_spill": False}
    return {"node_ids": [node_id], "object_size": size_bytes, "did_spill": spilled}


def _spilled() -> set[str]:
    """Objects of this node whose bytes lie on disk."""
    objects = session.native().control("list_objects", {})["objects"]
    return {entry["object_id"] for entry in objects if entry["spilled"]}
