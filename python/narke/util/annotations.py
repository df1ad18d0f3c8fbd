"""Decorators that state how stable a name is.

A decorated name carries the level in its docstring and in three attributes (``_annotated``,
``_annotated_type``, ``_annotated_api_group``) that tools read.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from enum import Enum
from typing import Any, TypeVar

__all__ = ["AnnotationType", "Deprecated", "DeveloperAPI", "PublicAPI", "RayDeprecationWarning"]

F = TypeVar("F", bound=Callable[..., Any])
_LEVELS = ("stable", "beta", "alpha")
_DEPRECATED_TEXT = "This name is deprecated and may go away in a later release."


class RayDeprecationWarning(DeprecationWarning):
    """Warning category of deprecated names; unlike its base class it is shown by default."""


warnings.simplefilter("default", RayDeprecationWarning, append=True)


class AnnotationType(Enum):
    """The kinds of annotation a name can carry."""

    PUBLIC_API = "PublicAPI"
    DEVELOPER_API = "DeveloperAPI"
    DEPRECATED = "Deprecated"
    UNKNOWN = "Unknown"


def PublicAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark a function, method or class as meant for every user.

    Args:
        stability: ``"stable"`` (default), ``"beta"`` or ``"alpha"``.
        api_group: heading under which documentation tools list the name.

    Raises:
        ValueError: for another stability or an unknown keyword.
    """
    if _is_bare(args, kwargs):
        return PublicAPI()(args[0])
    _check_keywords("PublicAPI", args, kwargs, ("stability", "api_group"))
    stability = kwargs.get("stability", "stable")
    if stability not in _LEVELS:
        raise ValueError(f"PublicAPI: stability must be one of {', '.join(_LEVELS)}, got {stability!r}")

    def annotate(target: F) -> F:
        if stability != "stable":
            _append_doc(
                target, f"**PublicAPI ({stability}):** may still change before it is declared stable."
            )
        return _mark(target, AnnotationType.PUBLIC_API, kwargs.get("api_group", "Others"))

    return annotate


def DeveloperAPI(*args: Any, **kwargs: Any) -> Any:
    """Mark a name as meant for authors of libraries; it may change between minor releases.

    Args:
        api_group: heading under which documentation tools list the name.
    """
    if _is_bare(args, kwargs):
        return DeveloperAPI()(args[0])
    _check_keywords("DeveloperAPI", args, kwargs, ("api_group",))

    def annotate(target: F) -> F:
        _append_doc(target, "**DeveloperAPI:** may change between minor releases.")
        return _mark(target, AnnotationType.DEVELOPER_API, kwargs.get("api_group", "Others"))

    return annotate


def Deprecated(*args: Any, **kwargs: Any) -> Any:
    """Mark a name as deprecated.

    Args:
        message: what to use instead.
        warning: when true, calling the name issues a `RayDeprecationWarning`.
    """
    if _is_bare(args, kwargs):
        return Deprecated()(args[0])
    _check_keywords("Deprecated", args, kwargs, ("message", "warning"))
    message = kwargs.get("message")

    def annotate(target: Any) -> Any:
        lines = [".. warning::", "", f"    **DEPRECATED**: {_DEPRECATED_TEXT}"]
        lines += [f"    {line}" for line in (message or "").splitlines()]
        _append_doc(target, "\n".join(lines))
        _mark(target, AnnotationType.DEPRECATED, "Others")
        return _warn_on_call(target, message) if kwargs.get("warning") else target

    return annotate


def _is_bare(args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """True when the decorator is written without parentheses."""
    return len(args) == 1 and not kwargs and callable(args[0])


def _check_keywords(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], known: tuple[str, ...]) -> None:
    if args:
        raise ValueError(f"{name} takes keyword arguments only ({', '.join(known)}), got {args!r}")
    unknown = sorted(set(kwargs) - set(known))
    if unknown:
        raise ValueError(f"{name} does not know {', '.join(unknown)}; it takes {', '.join(known)}")


def _warn_on_call(target: Any, message: str | None) -> Any:
    text = f"{target.__qualname__}: {_DEPRECATED_TEXT}" + (f" {message}" if message else "")
    called = target.__init__ if isinstance(target, type) else target  # type: ignore[misc]

    @functools.wraps(called)
    def warn_then_call(*args: Any, **kwargs: Any) -> Any:
        warnings.warn(text, RayDeprecationWarning, stacklevel=2)
        return called(*args, **kwargs)

    if isinstance(target, type):
        setattr(target, "__init__", warn_then_call)  # noqa: B010 (a checker takes the plain form for a mistake)
        return target
    return warn_then_call


def _append_doc(target: Any, text: str) -> None:
    """Put a paragraph under the docstring, at the docstring's own indentation."""
    doc = (target.__doc__ or "").rstrip()
    body = [line for line in doc.splitlines()[1:] if line.strip()]
    indent = " " * min((len(line) - len(line.lstrip()) for line in body), default=0)
    paragraph = "\n".join(f"{indent}{line}" if line else "" for line in text.splitlines())
    target.__doc__ = f"{doc}\n\n{paragraph}\n{indent}" if doc else f"{text}\n"


def _mark(target: Any, kind: AnnotationType, api_group: str) -> Any:
    target._annotated = target.__name__
    target._annotated_type = kind
    target._annotated_api_group = api_group
    return target


def _is_annotated(target: Any) -> bool:
    """True when the object itself, not a base class of it, is annotated."""
    return hasattr(target, "_annotated") and target._annotated == target.__name__


def _get_annotation_type(target: Any) -> str:
    """The annotation's name, ``"Unknown"`` for an object without one."""
    kind = target._annotated_type if _is_annotated(target) else AnnotationType.UNKNOWN
    return str(kind.value)
