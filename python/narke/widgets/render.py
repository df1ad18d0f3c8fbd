"""Templates: HTML with ``{{ name }}`` where a value goes."""

from __future__ import annotations

import re
from pathlib import Path

from narke.util.annotations import DeveloperAPI

__all__ = ["Template"]

_FOLDER = Path(__file__).parent / "templates"
_SLOT = re.compile(r"\{\{\s*(\w+)\s*\}\}")


@DeveloperAPI
class Template:
    """A template of this package.

    Args:
        file: its file name; `list_templates` gives the choice.

    Raises:
        FileNotFoundError: there is no such template.
    """

    def __init__(self, file: str) -> None:
        path = _FOLDER / file
        if path not in self.list_templates():
            known = ", ".join(sorted(template.name for template in self.list_templates()))
            raise FileNotFoundError(f"there is no template {file!r}; the choice is {known}")
        self.template = path.read_text(encoding="utf-8")

    def render(self, **kwargs: str | list[str] | None) -> str:
        """Return the HTML with values filled in; lists are joined, None and missing names are left empty."""
        return _SLOT.sub(lambda slot: _text(kwargs.get(slot.group(1))), self.template)

    @staticmethod
    def list_templates() -> list[Path]:
        """Return the files of all templates."""
        return sorted(_FOLDER.glob("*.html"))


def _text(value: str | list[str] | None) -> str:
    if value is None:
        return ""
    return "".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
