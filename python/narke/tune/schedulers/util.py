"""What several schedulers share."""

from __future__ import annotations

from typing import Any

__all__ = ["set_search_properties_backwards_compatible"]


def set_search_properties_backwards_compatible(
    set_search_properties_func: Any, metric: str | None, mode: str | None, **spec: Any
) -> bool:
    """Call a scheduler's `set_search_properties`, also one written when it took no `**spec`.

    Returns:
        what it answers.
    """
    import inspect

    parameters = inspect.signature(set_search_properties_func).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return set_search_properties_func(metric, mode, **spec)
    return set_search_properties_func(metric, mode)
