"""Names of accelerator types, and helpers for TPU pods."""

from __future__ import annotations

import importlib
from typing import Any

from narke.util.accelerators import accelerators as _types
from narke.util.accelerators.accelerators import *  # noqa: F403

# Names that programs written for earlier releases use.
_EARLIER_NAMES = {
    "AMD_INSTINCT_MI250x": "AMD-Instinct-MI250X",
    "AMD_INSTINCT_MI300x": "AMD-Instinct-MI300X-OAM",
    "NVIDIA_TESLA_A100": "A100",
}

__all__ = [*_types.__all__, *_EARLIER_NAMES, "tpu"]  # noqa: F405


def __getattr__(name: str) -> Any:
    if name == "tpu":
        return importlib.import_module("narke.util.tpu")
    if name in _EARLIER_NAMES:
        return _EARLIER_NAMES[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
