"""Signatures of remote functions and methods: checked where the call is made, as a direct call would be."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

__all__ = ["Signature"]

_NEVER = 1 << 30
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Signature:
    """The parameters of a callable without their defaults and annotations, so that they pickle and stay small.

    Args:
        parameters: (name, kind, has a default) of each.
    """

    __slots__ = ("_bound", "parameters")

    def __init__(self, parameters: tuple[tuple[str, int, bool], ...]) -> None:
        self.parameters = parameters
        self._bound: inspect.Signature | None = None

    @classmethod
    def of(cls, function: Callable[..., Any], *, skip_first: bool = False) -> Signature | None:
        """The signature of a function; None when it has none that can be read (some built-ins).

        Args:
            function: the callable.
            skip_first: leave out its first positional parameter (``self``).
        """
        try:
            parameters = list(inspect.signature(function).parameters.values())
        except (ValueError, TypeError):
            return None
        if skip_first and parameters and parameters[0].kind in _POSITIONAL:
            parameters = parameters[1:]
        return cls(tuple((p.name, int(p.kind), p.default is not p.empty) for p in parameters))

    @property
    def arity(self) -> tuple[int, int, bool]:
        """(fewest, most or -1) positional arguments for which a call without keywords is surely right, and whether
        any keywords are right too."""
        positional = [p for p in self.parameters if p[1] in _POSITIONAL]
        star = any(p[1] == inspect.Parameter.VAR_POSITIONAL for p in self.parameters)
        required_keyword = any(p[1] == inspect.Parameter.KEYWORD_ONLY and not p[2] for p in self.parameters)
        anything = any(p[1] == inspect.Parameter.VAR_KEYWORD for p in self.parameters)
        fewest = _NEVER if required_keyword else sum(1 for p in positional if not p[2])
        return fewest, -1 if star else len(positional), anything and not positional and not required_keyword

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise the TypeError that a call with these arguments would raise."""
        if self._bound is None:
            self._bound = inspect.Signature([_parameter(*p) for p in self.parameters])
        self._bound.bind(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Signature, (self.parameters,)


def _parameter(name: str, kind: int, has_default: bool) -> inspect.Parameter:
    default = None if has_default else inspect.Parameter.empty
    return inspect.Parameter(name, inspect._ParameterKind(kind), default=default)
