"""The methods of expressions by kind of value, where Ray has them."""

from narke.data.expression_namespaces import (
    ArrayNamespace,
    DatetimeNamespace,
    ListNamespace,
    MapNamespace,
    StringNamespace,
    StructNamespace,
)

__all__ = [
    "ArrayNamespace",
    "DatetimeNamespace",
    "ListNamespace",
    "MapNamespace",
    "StringNamespace",
    "StructNamespace",
]
