"""Any Python object in Arrow; what there is lives in `narke.data.extensions`."""

from __future__ import annotations

import importlib
from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module("narke.data.extensions"), name)
