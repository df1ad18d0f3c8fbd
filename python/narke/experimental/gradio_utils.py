"""Names of types for Gradio interfaces."""

from __future__ import annotations

__all__ = ["type_to_string"]


def type_to_string(_type: type) -> str:
    """Return a type's name with its module, without it for built-in types."""
    if getattr(_type, "__module__", "builtins") == "builtins":
        return _type.__name__
    name = getattr(_type, "__qualname__", None) or getattr(_type, "_name", None) or str(_type)
    return f"{_type.__module__}.{name}"
