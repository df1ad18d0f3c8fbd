"""Private names of Ray that libraries import; see README.md."""

from __future__ import annotations

__all__ = ["stand_in"]

_NAMES = {
    "_private.services": "services",
    "_private.worker": "worker",
    "_private.utils": "utils",
    "_private.ray_constants": "ray_constants",
    "_private.test_utils": "test_utils",
    "_common": "package",
    "_common.test_utils": "test_utils",
    "_common.utils": "utils",
    "_common.constants": "ray_constants",
    "_common.network_utils": "network_utils",
    "_raylet": "raylet",
    "data._internal": "package",
    "data._internal.delegating_block_builder": "block_builder",
    "train._internal": "package",
    "train._internal.session": "train_session",
}


def stand_in(name: str) -> str | None:
    """The module that stands for one of Ray's.

    Args:
        name: the module's name without ``ray.``.

    Returns:
        a full name; None where there is none.
    """
    found = _NAMES.get(name)
    return found and f"narke._compat.{found}"
