"""What may change or go away: dynamic resources, object locations, the internal key-value store, progress
bars.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOME_OF = {
    "CommunicatorMetadata": "rdt",
    "RDTManager": "rdt",
    "TensorTransportManager": "rdt",
    "TensorTransportMetadata": "rdt",
    "deregister_nixl_memory": "rdt",
    "get_local_object_locations": "locations",
    "get_object_locations": "locations",
    "register_nixl_memory": "rdt",
    "register_nixl_memory_pool": "rdt",
    "register_tensor_transport": "rdt",
    "set_nixl_cuda_stream": "rdt",
    "set_resource": "dynamic_resources",
    "set_target_device_for_ref": "rdt",
    "set_target_for_ref": "rdt",
    "wait_tensor_freed": "rdt",
}
_SUBMODULES = {"dynamic_resources", "internal_kv", "locations", "queue", "shuffle", "tqdm_ray"}

__all__ = sorted(_HOME_OF)


def __getattr__(name: str) -> Any:
    if name in _HOME_OF:
        value = getattr(importlib.import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    elif name in _SUBMODULES:
        value = importlib.import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
