"""HTML representations, and where they can be shown."""

from __future__ import annotations

import functools
import html
import importlib.util
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from narke.util.annotations import DeveloperAPI
from narke.widgets.render import Template

__all__ = ["in_ipython_shell", "in_notebook", "make_table_html_repr", "repr_with_fallback"]

F = TypeVar("F", bound=Callable[..., Any])


@DeveloperAPI
def make_table_html_repr(obj: Any, title: str | None = None, max_height: str = "none") -> str:
    """Return an HTML table of an object's attributes, or of a dictionary's items.

    Args:
        obj: the object; attributes that are None are left out.
        title: heading above the table.
        max_height: height above which the table scrolls, as CSS writes it.
    """
    items = obj if isinstance(obj, dict) else vars(obj)
    row = Template("row.html")
    rows = [
        row.render(key=html.escape(str(key)), value=_cell(value))
        for key, value in items.items()
        if value is not None
    ]
    heading = Template("title.html").render(title=html.escape(title)) if title else None
    return Template("table.html").render(title=heading, rows=rows, max_height=html.escape(max_height))


def _cell(value: Any) -> str:
    return value._repr_html_() if hasattr(value, "_repr_html_") else html.escape(str(value))


@DeveloperAPI
def repr_with_fallback(*notebook_deps: tuple[str, str | None]) -> Callable[[F], F]:
    """Decorate a ``_repr_mimebundle_`` so that it gives plain text where rich output cannot be shown.

    Args:
        notebook_deps: (package, least version or None) pairs that rich output needs.
    """

    def decorate(func: F) -> F:
        @functools.wraps(func)
        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            bundle = func(self, *args, **kwargs)
            if in_notebook() and not _missing(notebook_deps):
                return bundle
            return {"text/plain": bundle.get("text/plain", repr(self))}

        return wrapped  # type: ignore[return-value]

    return decorate


def _missing(deps: tuple[tuple[str, str | None], ...]) -> list[str]:
    return [name for name, version in deps if not _installed(name, version)]


def _installed(name: str, least: str | None) -> bool:
    if importlib.util.find_spec(name) is None:
        return False
    if least is None:
        return True
    from importlib.metadata import version

    return _numbers(version(name)) >= _numbers(least)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


@DeveloperAPI
def in_notebook(shell_name: str | None = None) -> bool:
    """Return whether this is a Jupyter notebook or Qt console.

    Args:
        shell_name: name of the IPython shell's class; None for the present one.
    """
    return (shell_name or _shell_name()) == "ZMQInteractiveShell"


@DeveloperAPI
def in_ipython_shell(shell_name: str | None = None) -> bool:
    """Return whether this is IPython in a terminal.

    Args:
        shell_name: name of the IPython shell's class; None for the present one.
    """
    return (shell_name or _shell_name()) == "TerminalInteractiveShell"


def _shell_name() -> str:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return "" if shell is None else type(shell).__name__
