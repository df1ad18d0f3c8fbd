"""Types for annotations."""

from __future__ import annotations

from typing import Generic, TypeVar

from narke.util.annotations import PublicAPI

__all__ = ["ObjectRef"]

T = TypeVar("T")


@PublicAPI
class ObjectRef(Generic[T]):
    """A reference to a value of type T, for annotations: ``def f(x: ObjectRef[int])``.

    References themselves are instances of `narke.ObjectRef`.
    """
