"""Texts of progress: tables of trials, durations, numbers."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from narke.tune.search.util import flattened

if TYPE_CHECKING:
    from narke.tune.experiment.trial import Trial

__all__ = ["as_html", "as_text", "best_trial", "duration_text", "grid", "short", "value_text"]


def value_text(value: Any, most: int = 20) -> str:
    """A value in a cell: numbers with 6 digits, long text shortened in the middle of a name or at its end.

    Args:
        value: it.
        most: characters.
    """
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    return short(str(value), most)


def short(text: str, most: int) -> str:
    """Text of at most so many characters; what is left out stands as "..."."""
    return text if len(text) <= most else "..." + text[-(most - 3) :]


def as_text(header: Sequence[str], rows: Sequence[Sequence[Any]], most: int = 20) -> str:
    """A table with ruled borders.

    Args:
        header: the columns' names.
        rows: their values.
        most: characters of a cell.
    """
    texts = [[value_text(value, most) for value in row] for row in rows]
    names = [short(str(name), most + 8) for name in header]
    widths = [max([len(name), *(len(row[at]) for row in texts)]) for at, name in enumerate(names)]
    numeric = [
        all(isinstance(row[at], (int, float)) or row[at] is None for row in rows) for at in range(len(names))
    ]
    lines = ["╭" + "─" * (sum(widths) + 3 * len(widths) - 1) + "╮"]
    lines.append(
        "│ " + "   ".join(name.ljust(width) for name, width in zip(names, widths, strict=True)) + " │"
    )
    lines.append("├" + "─" * (sum(widths) + 3 * len(widths) - 1) + "┤")
    for row in texts:
        cells = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        lines.append("│ " + "   ".join(cells) + " │")
    lines.append("╰" + "─" * (sum(widths) + 3 * len(widths) - 1) + "╯")
    return "\n".join(lines)


def as_html(header: Sequence[str], rows: Sequence[Sequence[Any]], most: int = 40) -> str:
    """The same table for a notebook."""
    head = "".join(f"<th>{html.escape(str(name))}</th>" for name in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(value_text(value, most))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def grid(pairs: Sequence[tuple[str, Any]], title: str) -> str:
    """A box of names and values under a title."""
    texts = [(name, value_text(value, 40)) for name, value in pairs]
    left = max([len(name) for name, _ in texts] or [0])
    right = max([len(value) for _, value in texts] or [0])
    width = max(left + right + 4, len(title))
    lines = ["╭" + "─" * (width + 2) + "╮", f"│ {title.ljust(width)} │", "├" + "─" * (width + 2) + "┤"]
    lines += [f"│ {name.ljust(width - right)}{value.rjust(right)} │" for name, value in texts]
    return "\n".join([*lines, "╰" + "─" * (width + 2) + "╯"])


def duration_text(seconds: float) -> str:
    """A duration such as "1hr 2min 3s"."""
    whole = int(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [
        f"{days}d" if days else "",
        f"{hours}hr" if hours else "",
        f"{minutes}min" if minutes else "",
        f"{left}s",
    ]
    return " ".join(part for part in parts if part)


def best_trial(trials: Sequence[Trial], metric: str | None, mode: str | None) -> Trial | None:
    """The trial whose last value of a metric is the best; None if there is none, or no aim.

    Args:
        trials: all.
        metric: what is optimized.
        mode: "min" or "max".
    """
    if not metric or mode not in ("min", "max"):
        return None
    found: tuple[float, Trial] | None = None
    for trial in trials:
        value = flattened(trial.last_result).get(metric)
        if not isinstance(value, (int, float)) or value != value:
            continue
        if found is None or (value > found[0] if mode == "max" else value < found[0]):
            found = (value, trial)
    return found[1] if found else None
