"""`narke._config`: settings of the engine as programs ask for them; environment variables ``RAY_<name>`` set them."""

from __future__ import annotations

import os
from typing import Any

__all__ = ["_config"]

_DEFAULTS: dict[str, Any] = {
    "max_direct_call_object_size": 100 * 1024,
    "record_ref_creation_sites": False,
    "num_workers_soft_limit": 0,
    "object_spilling_threshold": 0.8,
    "worker_register_timeout_seconds": 60,
    "gcs_rpc_server_reconnect_timeout_s": 60,
    "health_check_initial_delay_ms": 5000,
    "health_check_period_ms": 3000,
    "object_store_full_delay_ms": 10,
    "task_retry_delay_ms": 0,
    "max_io_workers": 4,
    "use_tls": False,
}


class Settings:
    """Gives each setting by a method of its name: ``_config.max_direct_call_object_size()``."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or (name not in _DEFAULTS and f"RAY_{name}" not in os.environ):
            raise AttributeError(f"there is no setting {name!r}; there are {sorted(_DEFAULTS)}")
        return lambda: _value(name)


def _value(name: str) -> Any:
    default = _DEFAULTS.get(name)
    text = os.environ.get(f"RAY_{name}")
    if text is None:
        return default
    if isinstance(default, bool):
        return text.lower() in ("1", "true")
    return type(default)(text) if default is not None else text


_config = Settings()
