"""Nested values as JSON; what JSON cannot hold goes through pickle.

NaN and infinities are kept as JSON's common extension writes them. Tuples become lists.
"""

from __future__ import annotations

import base64
import json
from typing import Any

__all__ = ["decode", "encode", "entry", "value_of"]

_PICKLED = "__pickled__"
# All trials of an experiment have the same of these: each is pickled once.
_SHARED = ("CheckpointConfig", "PlacementGroupFactory")
_MOST = 64
_LEAVES = frozenset({str, int, float, bool, type(None)})
_recent: dict[int, tuple[Any, dict[str, str]]] = {}


def encode(value: Any) -> str:
    """The JSON of a value.

    Raises:
        TypeError: part of it can be neither written as JSON nor pickled.
    """
    return _encode(_plain(value))


def entry(value: Any) -> str:
    """A dict as part of a line of JSON: as it is, or, where parts of it are pickled, as a text for `value_of`."""
    text = encode(value)
    return json.dumps(text) if _PICKLED in text else text


def value_of(part: Any) -> Any:
    """The value of what JSON's reader made of an `entry`."""
    return decode(part) if isinstance(part, str) else part


def decode(text: str) -> Any:
    """The value of JSON that `encode` made."""
    return json.loads(text, object_hook=_unpickled) if _PICKLED in text else json.loads(text)


def _plain(value: Any) -> Any:
    """The value with dicts that have other keys than text pickled: JSON would change the keys."""
    if type(value) is dict:
        if all(isinstance(key, str) for key in value):
            return {key: each if type(each) in _LEAVES else _plain(each) for key, each in value.items()}
        return _pickled(value)
    if type(value) in (list, tuple):
        return [each if type(each) in _LEAVES else _plain(each) for each in value]
    if isinstance(value, (dict, list, tuple)):
        return _pickled(value)
    return value


def _pickled(value: Any) -> Any:
    item = getattr(value, "item", None)
    if type(value).__module__ == "numpy" and item is not None and getattr(value, "ndim", 1) == 0:
        return item()
    from narke import cloudpickle

    known = _recent.get(id(value))
    if known is not None and known[0] is value:
        return known[1]
    made = {_PICKLED: base64.b64encode(cloudpickle.dumps(value)).decode()}
    if type(value).__name__ in _SHARED:
        if len(_recent) >= _MOST:
            _recent.clear()
        _recent[id(value)] = (value, made)
    return made


_encode = json.JSONEncoder(default=_pickled).encode
# What `_SHARED` values were made of, when they are read again.
_read: dict[str, Any] = {}


def _unpickled(entry: dict[str, Any]) -> Any:
    if len(entry) != 1 or _PICKLED not in entry:
        return entry
    from narke import cloudpickle

    text = entry[_PICKLED]
    if text in _read:
        return _read[text]
    value = cloudpickle.loads(base64.b64decode(text))
    if type(value).__name__ in _SHARED:
        if len(_read) >= _MOST:
            _read.clear()
        _read[text] = value
    return value
