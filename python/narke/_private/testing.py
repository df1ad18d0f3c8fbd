"""What tests of recovery do to a cluster."""

from __future__ import annotations

from typing import Any

__all__ = ["drop_object"]


def drop_object(ref: Any) -> None:
    """Lose the stored copy of an object, as the end of a node would.

    Args:
        ref: an ObjectRef this program owns; what is not in the store is left alone.
    """
    from narke import _native

    _native.drop_object(ref)
