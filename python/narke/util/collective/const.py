"""Names under which the members of a group find each other."""

from __future__ import annotations

import os
from enum import Enum
from typing import Any

__all__ = ["ENV", "get_store_name"]


def get_store_name(group_name: str) -> str:
    """Return the key under which a group's first member announces itself.

    Raises:
        ValueError: the name is empty.
    """
    if not group_name:
        raise ValueError("group_name is empty")
    return f"collective:{group_name}"


class ENV(Enum):
    """Settings that the environment can change: (default, how to read the text)."""

    NCCL_USE_MULTISTREAM = (1, lambda text: text not in ("0", "False", "false", ""))

    @property
    def val(self) -> Any:
        """The setting's present value."""
        default, read = self.value
        text = os.environ.get(self.name)
        return bool(default) if text is None else read(text)
