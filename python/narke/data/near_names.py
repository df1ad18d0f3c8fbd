"""What to say of a column that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(missing: Iterable[str], names: Iterable[str]) -> str:
    """A text that names the missing columns, those there are, and for each the nearest of them."""
    known, lost = list(names), list(missing)
    near = (difflib.get_close_matches(str(name), map(str, known), 1) for name in lost)
    hints = [f"did you mean {found[0]!r}?" for found in near if found]
    return " ".join([f"there are no columns {lost}; the columns are {known}.", *hints])
