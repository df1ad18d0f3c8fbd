"""Whether this program records traces, and where its spans go.

``narke.init(_tracing_startup_hook="module:function")`` names a function that sets up OpenTelemetry's tracer
provider; every process of the job calls it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

__all__: list[str] = []

_HOOK_FORM = "module:function"


def _import_from_string(path: str) -> Callable[[], None]:
    """Return the function that ``module:function`` names.

    Raises:
        ValueError: the text has another form, or names nothing.
    """
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"a tracing hook is written {_HOOK_FORM}, got {path!r}")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"the tracing hook {path!r} does not exist: {error}") from error
