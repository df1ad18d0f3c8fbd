"""Methods of expressions by kind of value, such as ``col("s").str.upper()``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from narke.data.expressions import Expr

__all__ = [
    "ArrayNamespace",
    "DatetimeNamespace",
    "ListNamespace",
    "MapNamespace",
    "StringNamespace",
    "StructNamespace",
]


class _Namespace:
    def __init__(self, expr: Expr):
        self._expr = expr


def _plain(function: Callable[[Any], Any], name: str, about: str) -> Callable[[Any], Any]:
    def method(self: _Namespace) -> Any:
        return self._expr._then(function, f"{name}()")

    method.__name__, method.__doc__ = name, about
    return method


def _with_pattern(function: Any, name: str, about: str) -> Callable[..., Any]:
    def method(self: _Namespace, pattern: str, *args: Any, **kwargs: Any) -> Any:
        return self._expr._then(
            lambda v: function(v, pattern=pattern, *args, **kwargs),  # noqa: B026
            f"{name}({pattern!r})",
        )

    method.__name__, method.__doc__ = name, about
    return method


class StringNamespace(_Namespace):
    """Methods of strings. Positions count characters; those where something is found count bytes of UTF-8."""

    def strip(self, characters: str | None = None) -> Expr:
        """Without white space (or these characters) at both ends."""
        return self._trimmed("strip", pc.utf8_trim, pc.utf8_trim_whitespace, characters)

    def lstrip(self, characters: str | None = None) -> Expr:
        """Without white space (or these characters) at the beginning."""
        return self._trimmed("lstrip", pc.utf8_ltrim, pc.utf8_ltrim_whitespace, characters)

    def rstrip(self, characters: str | None = None) -> Expr:
        """Without white space (or these characters) at the end."""
        return self._trimmed("rstrip", pc.utf8_rtrim, pc.utf8_rtrim_whitespace, characters)

    def _trimmed(self, name: str, trim: Any, trim_white: Any, characters: str | None) -> Expr:
        if characters is None:
            return self._expr._then(trim_white, f"{name}()")
        return self._expr._then(lambda v: trim(v, characters=characters), f"{name}({characters!r})")

    def lpad(self, width: int, padding: str = " ", *args: Any, **kwargs: Any) -> Expr:
        """Filled up on the left to a width."""
        return self._expr._then(lambda v: pc.utf8_lpad(v, width, padding, *args, **kwargs), f"lpad({width})")

    def rpad(self, width: int, padding: str = " ", *args: Any, **kwargs: Any) -> Expr:
        """Filled up on the right to a width."""
        return self._expr._then(lambda v: pc.utf8_rpad(v, width, padding, *args, **kwargs), f"rpad({width})")

    def center(self, width: int, padding: str = " ", *args: Any, **kwargs: Any) -> Expr:
        """Filled up on both sides to a width."""
        return self._expr._then(
            lambda v: pc.utf8_center(v, width, padding, *args, **kwargs), f"center({width})"
        )

    def pad(self, width: int, fillchar: str = " ", side: str = "right") -> Expr:
        """Filled up to a width on one side ("left", "right") or "both"."""
        ways = {"left": self.lpad, "right": self.rpad, "both": self.center}
        if side not in ways:
            raise ValueError(f"side must be 'left', 'right' or 'both', not {side!r}")
        return ways[side](width, fillchar)

    def slice(self, *args: Any, **kwargs: Any) -> Expr:
        """Characters from start to before stop; arguments are those of `pyarrow.compute.utf8_slice_codeunits`."""
        return self._expr._then(lambda v: pc.utf8_slice_codeunits(v, *args, **kwargs), f"slice{args}")

    def replace(self, pattern: str, replacement: str, *args: Any, **kwargs: Any) -> Expr:
        """With one text in the place of another."""
        return self._expr._then(
            lambda v: pc.replace_substring(v, pattern, replacement, *args, **kwargs),
            f"replace({pattern!r}, {replacement!r})",
        )

    def replace_regex(self, pattern: str, replacement: str, *args: Any, **kwargs: Any) -> Expr:
        """With a text in the place of what a regular expression matches."""
        return self._expr._then(
            lambda v: pc.replace_substring_regex(v, pattern, replacement, *args, **kwargs),
            f"replace_regex({pattern!r}, {replacement!r})",
        )

    def replace_slice(self, start: int, stop: int, replacement: str, *args: Any, **kwargs: Any) -> Expr:
        """With a text in the place of the characters from start to before stop."""
        return self._expr._then(
            lambda v: pc.utf8_replace_slice(v, start, stop, replacement, *args, **kwargs),
            f"replace_slice({start}, {stop})",
        )

    def repeat(self, n: int, *args: Any, **kwargs: Any) -> Expr:
        """n times in a row."""
        return self._expr._then(lambda v: pc.binary_repeat(v, n), f"repeat({n})")

    def split_whitespace(self, *args: Any, **kwargs: Any) -> Expr:
        """The parts between white space."""
        return self._expr._then(lambda v: pc.utf8_split_whitespace(v, *args, **kwargs), "split_whitespace()")


_PLAIN_STRINGS = {
    "byte_len": (pc.binary_length, "Bytes in UTF-8."),
    "capitalize": (pc.utf8_capitalize, "The first letter in upper case."),
    "len": (pc.utf8_length, "Number of characters."),
    "lower": (pc.utf8_lower, "In lower case."),
    "upper": (pc.utf8_upper, "In upper case."),
    "title": (pc.utf8_title, "Words with capitals."),
    "swapcase": (pc.utf8_swapcase, "Upper and lower case exchanged."),
    "reverse": (pc.utf8_reverse, "Backwards."),
    "is_ascii": (pc.string_is_ascii, "True where all characters are ASCII."),
}
for _name in "alnum alpha decimal digit lower numeric printable space title upper".split():
    _PLAIN_STRINGS[f"is_{_name}"] = (getattr(pc, f"utf8_is_{_name}"), f"As `str.is{_name}`.")
_PATTERN_STRINGS = {
    "contains": (pc.match_substring, "True where it contains a text."),
    "count": (pc.count_substring, "How often a text is in it."),
    "count_regex": (pc.count_substring_regex, "How often a regular expression matches."),
    "ends_with": (pc.ends_with, "True where it ends with a text."),
    "starts_with": (pc.starts_with, "True where it begins with a text."),
    "extract": (pc.extract_regex, "The named groups of a regular expression, as a struct."),
    "find": (pc.find_substring, "Where a text is first in it; -1 where it is not."),
    "find_regex": (
        pc.find_substring_regex,
        "Where a regular expression first matches; -1 where it does not.",
    ),
    "match": (pc.match_like, "True where an SQL LIKE pattern matches."),
    "match_regex": (pc.match_substring_regex, "True where a regular expression matches somewhere."),
    "split": (pc.split_pattern, "The parts between a text."),
    "split_regex": (pc.split_pattern_regex, "The parts between what a regular expression matches."),
}
for _name, (_function, _about) in _PLAIN_STRINGS.items():
    setattr(StringNamespace, _name, _plain(_function, _name, _about))
for _name, (_function, _about) in _PATTERN_STRINGS.items():
    setattr(StringNamespace, _name, _with_pattern(_function, _name, _about))


class DatetimeNamespace(_Namespace):
    """Methods of dates and times."""

    def strftime(self, fmt: str) -> Expr:
        """As text, by a format of `strftime`."""
        return self._expr._then(lambda v: pc.strftime(v, format=fmt), f"strftime({fmt!r})")

    def ceil(self, unit: str) -> Expr:
        """Up to the next "day", "hour" and so on."""
        return self._expr._then(lambda v: pc.ceil_temporal(v, unit=unit), f"ceil({unit!r})")

    def floor(self, unit: str) -> Expr:
        """Down to the last "day", "hour" and so on."""
        return self._expr._then(lambda v: pc.floor_temporal(v, unit=unit), f"floor({unit!r})")

    def round(self, unit: str) -> Expr:
        """To the nearest "day", "hour" and so on."""
        return self._expr._then(lambda v: pc.round_temporal(v, unit=unit), f"round({unit!r})")


for _name in ("year", "month", "day", "hour", "minute", "second"):
    setattr(DatetimeNamespace, _name, _plain(getattr(pc, _name), _name, f"The {_name}."))


class ListNamespace(_Namespace):
    """Methods of lists."""

    def len(self) -> Expr:
        """Number of elements."""
        return self._expr._then(pc.list_value_length, "len()")

    def get(self, index: int) -> Expr:
        """The element at a place; negative ones count from the end."""
        return self._expr._then(lambda v: _element(v, index), f"get({index})")

    def __getitem__(self, key: int | slice) -> Expr:
        return self.slice(key.start, key.stop, key.step) if isinstance(key, slice) else self.get(key)

    def slice(self, start: int | None = None, stop: int | None = None, step: int | None = None) -> Expr:
        """The elements from start to before stop."""
        return self._expr._then(
            lambda v: pc.list_slice(v, start or 0, stop, step or 1, return_fixed_size_list=False),
            f"slice({start}, {stop}, {step})",
        )

    def flatten(self) -> Expr:
        """Lists of lists as one list each."""
        return self._expr._then(
            lambda v: _by_values(v, lambda items: [x for part in items for x in part or []]), "flatten()"
        )

    def sort(self, order: str = "ascending", null_placement: str = "at_end") -> Expr:
        """The elements in order ("ascending", "descending"), nulls "at_end" or "at_start"."""
        if order not in ("ascending", "descending") or null_placement not in ("at_end", "at_start"):
            raise ValueError(f"there is no order {order!r} with nulls {null_placement!r}")
        return self._expr._then(
            lambda v: _by_values(v, lambda items: _sorted(items, order, null_placement)), f"sort({order!r})"
        )


def _element(value: Any, index: int) -> Any:
    if index >= 0:
        return pc.list_element(value, index)
    return pa.array([None if v is None or len(v) < -index else v[index] for v in value.to_pylist()])


def _by_values(value: Any, change: Callable[[list[Any]], list[Any]]) -> pa.Array:
    return pa.array([None if items is None else change(items) for items in value.to_pylist()])


def _of_entries(value: Any, place: int) -> pa.Array:
    """The keys (0) or values (1) of maps, or of lists of structs of two fields."""
    return _by_values(
        value, lambda items: [tuple(e.values() if isinstance(e, dict) else e)[place] for e in items]
    )


def _sorted(items: list[Any], order: str, null_placement: str) -> list[Any]:
    full = sorted((x for x in items if x is not None), reverse=order == "descending")
    nulls = [None] * (len(items) - len(full))
    return [*full, *nulls] if null_placement == "at_end" else [*nulls, *full]


class ArrayNamespace(_Namespace):
    """Methods of lists of fixed length and tensors."""

    def to_list(self) -> Expr:
        """As lists."""
        return self._expr._then(_as_lists, "to_list()")


def _as_lists(value: Any) -> pa.Array:
    kind = value.type
    if isinstance(kind, pa.BaseExtensionType):
        value, kind = value.cast(kind.storage_type), kind.storage_type
    return value.cast(pa.list_(kind.value_type))


class MapNamespace(_Namespace):
    """Methods of maps."""

    def keys(self) -> Expr:
        """The keys, as lists."""
        return self._expr._then(lambda v: _of_entries(v, 0), "keys()")

    def values(self) -> Expr:
        """The values, as lists."""
        return self._expr._then(lambda v: _of_entries(v, 1), "values()")


class StructNamespace(_Namespace):
    """Methods of structs."""

    def field(self, field_name: str) -> Expr:
        """A field by name."""
        return self._expr._then(lambda v: pc.struct_field(v, field_name), f"field({field_name!r})")

    def field_by_index(self, index: int) -> Expr:
        """A field by its place."""
        return self._expr._then(lambda v: pc.struct_field(v, index), f"field_by_index({index})")

    def __getitem__(self, key: str) -> Expr:
        return self.field(key)
