"""JSON forms of what `json` does not know."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Any

__all__ = ["json_form"]


def json_form(value: Any) -> Any:
    """A value that `json` can write, in place of one that it cannot.

    Raises:
        TypeError: there is none.
    """
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if hasattr(value, "tolist"):  # numpy arrays and scalars, torch tensors
        return value.tolist()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, (set, frozenset)) or hasattr(value, "__next__"):
        return list(value)
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode()
    if isinstance(value, (uuid.UUID, pathlib.PurePath)):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return float(value)
    if hasattr(value, "to_dict"):  # pandas
        return value.to_dict()
    raise TypeError(
        f"A handler returned {type(value).__module__}.{type(value).__qualname__}, which has no JSON form: return a "
        "str, bytes, a Starlette response, or JSON types"
    )
