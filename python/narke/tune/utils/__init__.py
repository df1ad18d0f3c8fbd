"""Tools around experiments."""

from __future__ import annotations

from typing import Any

from narke.tune.search.util import flattened, merged_config
from narke.tune.utils.util import (
    UtilMonitor,
    date_str,
    diagnose_serialization,
    validate_save_restore,
    wait_for_gpu,
    warn_if_slow,
)

__all__ = [
    "UtilMonitor",
    "_detect_config_single",
    "date_str",
    "deep_update",
    "diagnose_serialization",
    "flatten_dict",
    "merge_dicts",
    "unflattened_lookup",
    "validate_save_restore",
    "wait_for_gpu",
    "warn_if_slow",
]


def _detect_config_single(func: Any) -> bool:
    """Whether a function takes one argument, the configuration."""
    import inspect

    try:
        inspect.signature(func).bind({})
    except (TypeError, ValueError):
        return False
    return True


def merge_dicts(d1: dict, d2: dict) -> dict:
    """A nested dict with the entries of `d2` over those of `d1`; neither is changed."""
    return merged_config(d1, d2)


def deep_update(
    original: dict,
    new_dict: dict,
    new_keys_allowed: bool = False,
    allow_new_subkey_list: list[str] | None = None,
    override_all_if_type_changes: list[str] | None = None,
    override_all_key_list: list[str] | None = None,
) -> dict:
    """Put the entries of a nested dict over another's, in place.

    Args:
        original: changed and returned.
        new_dict: the entries.
        new_keys_allowed: whether keys may be new; otherwise a new one is an error.
        allow_new_subkey_list: keys whose values may have new keys.
        override_all_if_type_changes: keys whose values are replaced whole if their "type" changes.
        override_all_key_list: keys whose values are replaced whole.

    Raises:
        ValueError: a key is new and must not be.
    """
    free, typed, whole = (
        allow_new_subkey_list or [],
        override_all_if_type_changes or [],
        override_all_key_list or [],
    )
    for key, value in new_dict.items():
        if key not in original and not new_keys_allowed:
            raise ValueError(f"Unknown config parameter `{key}`; there are {sorted(map(str, original))}")
        old = original.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            changes_type = key in typed and "type" in value and value["type"] != old.get("type")
            if changes_type or key in whole:
                original[key] = value
            else:
                deep_update(old, value, key in free or new_keys_allowed)
        else:
            original[key] = value
    return original


def flatten_dict(
    dt: dict, delimiter: str = "/", prevent_delimiter: bool = False, flatten_list: bool = False
) -> dict:
    """A dict with keys such as "a/b" of a nested one.

    Args:
        dt: the nested dict.
        delimiter: between keys.
        prevent_delimiter: refuse keys that hold it.
        flatten_list: flatten lists too, by their indices.

    Raises:
        ValueError: a key holds the delimiter.
    """
    if flatten_list:
        dt = {key: _lists_as_dicts(value) for key, value in dt.items()}
    if prevent_delimiter:
        for key, value in dt.items():
            if isinstance(key, str) and delimiter in key:
                raise ValueError(
                    f"Found delimiter `{delimiter}` in key `{key}` when trying to flatten a dict."
                )
            if isinstance(value, dict):
                flatten_dict(value, delimiter, True)
    return flattened(dt, delimiter)


def _lists_as_dicts(value: Any) -> Any:
    if isinstance(value, list) and value:
        return {str(at): _lists_as_dicts(each) for at, each in enumerate(value)}
    return {key: _lists_as_dicts(each) for key, each in value.items()} if isinstance(value, dict) else value


def unflattened_lookup(flat_key: str, lookup: Any, delimiter: str = "/", **kwargs: Any) -> Any:
    """The value of a key such as "a/b" in a nested dict or list.

    Args:
        flat_key: the key.
        lookup: dict or list.
        delimiter: between keys.
        kwargs: `default`, for a key that is not there.

    Raises:
        KeyError: no such key, and no default.
    """
    if flat_key in lookup:
        return lookup[flat_key]
    value = lookup
    for key in flat_key.split(delimiter):
        try:
            value = value[int(key)] if isinstance(value, (list, tuple)) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            if "default" in kwargs:
                return kwargs["default"]
            raise KeyError(flat_key) from None
    return value
