"""Stands for ``ray._private.utils`` and ``ray._common.utils``: small helpers that libraries share with Ray."""

from __future__ import annotations

import asyncio
import importlib
import os
from typing import Any

from narke._private import machine, sessions_dir

__all__ = [
    "binary_to_hex",
    "get_num_cpus",
    "get_or_create_event_loop",
    "get_ray_temp_dir",
    "get_system_memory",
    "get_used_memory",
    "get_user_temp_dir",
    "hex_to_binary",
    "import_attr",
    "load_class",
]


def get_or_create_event_loop() -> asyncio.AbstractEventLoop:
    """The running event loop, the thread's own, or a new one made the thread's."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        pass
    try:
        return asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop


def import_attr(full_path: str, *, reload_module: bool = False) -> Any:
    """What ``package.module:name`` or ``package.module.name`` names.

    Raises:
        TypeError: there is no path.
        ValueError: it has no module.
        ImportError, AttributeError: the module or the name is not there.
    """
    if full_path is None:
        raise TypeError("import path cannot be None")
    module_name, mark, name = full_path.rpartition(":" if ":" in full_path else ".")
    if not mark or not module_name:
        raise ValueError(f"{full_path!r} must be of the form package.module:name or package.module.name")
    module = importlib.import_module(module_name)
    return getattr(importlib.reload(module) if reload_module else module, name)


load_class = import_attr


def get_num_cpus(*_args: Any, **_options: Any) -> int:
    """CPUs this process may use."""
    return machine.cpu_count()


def get_system_memory(*_args: Any) -> int:
    """Bytes of memory this process's host or container has."""
    return machine.memory_bytes()


def get_used_memory() -> int:
    """Bytes of memory in use on this host."""
    with open("/proc/meminfo", encoding="ascii") as file:
        fields = {line.split(":")[0]: int(line.split()[1]) << 10 for line in file}
    return fields["MemTotal"] - fields["MemAvailable"]


def get_user_temp_dir() -> str:
    """The folder in which the folder of sessions lies."""
    return os.path.dirname(get_ray_temp_dir())


def get_ray_temp_dir() -> str:
    """The folder of sessions."""
    return sessions_dir.base_dir()


def binary_to_hex(identifier: bytes) -> str:
    """An id's bytes as hexadecimal digits."""
    return identifier.hex()


def hex_to_binary(hex_identifier: str) -> bytes:
    """The bytes of an id given as hexadecimal digits."""
    return bytes.fromhex(hex_identifier)
