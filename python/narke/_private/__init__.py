"""What the public modules are made of; nothing here is for users.

Programs reach some of Ray's private modules from here without importing them (``ray._private.worker.global_worker``):
what stands for those is in narke._compat.
"""

from __future__ import annotations

import importlib
import types


def __getattr__(name: str) -> types.ModuleType:
    from narke import _compat

    found = None if name.startswith("__") else _compat.stand_in(f"_private.{name}")
    if found is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(found)
