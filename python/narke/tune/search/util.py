"""The default order of points given beforehand, and other small shared parts."""

from __future__ import annotations

import logging
from typing import Any

__all__ = ["merged_config", "set_search_properties_backwards_compatible"]

logger = logging.getLogger(__name__)


def set_search_properties_backwards_compatible(
    set_search_properties_func: Any, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any
) -> bool:
    """Call a searcher's `set_search_properties`, also one written when it took no `**spec`.

    Returns:
        what it answers.
    """
    import inspect

    parameters = inspect.signature(set_search_properties_func).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return set_search_properties_func(metric, mode, config, **spec)
    known = {parameter.name for parameter in parameters}
    return set_search_properties_func(
        metric, mode, config, **{key: value for key, value in spec.items() if key in known}
    )


def merged_config(base: dict[str, Any], update: dict[str, Any]) -> dict[str, Any]:
    """A nested dict with the entries of `update` over those of `base`; neither is changed."""
    merged = dict(base)
    for key, value in update.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = merged_config(merged[key], value)
        else:
            merged[key] = value
    return merged


def unflattened(config: dict[str, Any], delimiter: str = "/") -> dict[str, Any]:
    """A nested dict of one with keys such as "a/b"; other dicts are taken as they are."""
    nested: dict[str, Any] = {}
    for key, value in config.items():
        parent = nested
        *folders, last = key.split(delimiter) if isinstance(key, str) else [key]
        for folder in folders:
            parent = parent.setdefault(folder, {})
        parent[last] = value
    return nested


def flattened(config: dict[str, Any], delimiter: str = "/") -> dict[str, Any]:
    """A dict with keys such as "a/b" of a nested one; empty dicts stay."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and value:
            for inner, leaf in flattened(value, delimiter).items():
                flat[f"{key}{delimiter}{inner}"] = leaf
        else:
            flat[key] = value
    return flat
