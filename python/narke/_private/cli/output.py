"""Records as JSON, YAML or a table."""

from __future__ import annotations

import json
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence
    from typing import Any

__all__ = ["FORMATS", "add_format", "paint", "render", "table"]

FORMATS = ("default", "json", "yaml", "table")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_/.<>()")

_CODES = {"red": 31, "green": 32, "yellow": 33, "bold": 1}


def add_format(parser: argparse.ArgumentParser, forms: Sequence[str] = FORMATS) -> None:
    """Let a command take --format, and --json for short."""
    parser.add_argument("--format", choices=forms, default="default", help="how to print")
    parser.add_argument("--json", action="store_const", dest="format", const="json", help="as JSON")


def paint(text: str, color: str) -> str:
    """Text in a color on a terminal, and as it is elsewhere or with NO_COLOR set."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    return f"\x1b[{_CODES[color]}m{text}\x1b[0m"


def render(records: Any, form: str) -> str:
    """Text for records, or for one.

    Args:
        records: dicts of plain values, or one.
        form: one of FORMATS; ``"default"`` is a table for several records and YAML for one.
    """
    if form == "json":
        return json.dumps(records, indent=2, default=str)
    if form == "yaml" or (form == "default" and isinstance(records, dict)):
        return "\n".join(_yaml(records, 0))
    rows = [records] if isinstance(records, dict) else list(records)
    columns = list(rows[0]) if rows else []
    return table(columns, [[row.get(column) for column in columns] for row in rows])


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns under their names in capitals, as wide as their widest value."""
    texts = [[_cell(value) for value in row] for row in rows]
    heads = [column.upper() for column in columns]
    widths = [max([len(head), *(len(row[i]) for row in texts)]) for i, head in enumerate(heads)]
    lines = [
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in [heads, *texts]
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)


def _yaml(value: Any, depth: int) -> list[str]:
    pad = "  " * depth
    if isinstance(value, dict) and value:
        lines = []
        for key, item in value.items():
            is_nested = isinstance(item, (dict, list)) and item
            lines += (
                [f"{pad}{key}:", *_yaml(item, depth + 1)] if is_nested else [f"{pad}{key}: {_scalar(item)}"]
            )
        return lines
    if isinstance(value, list) and value:
        lines = []
        for item in value:
            first, *rest = _yaml(item, depth + 1)
            lines += [f"{pad}- {first.strip()}", *rest]
        return lines
    return [f"{pad}{_scalar(value)}"]


def _scalar(value: Any) -> str:
    """A value that reads back as itself."""
    is_word = isinstance(value, str) and value and set(value) <= _PLAIN
    if is_word and value.lower() not in ("true", "false", "null", "yes", "no", "on", "off", "."):
        return str(value)
    return json.dumps(value, default=str)
