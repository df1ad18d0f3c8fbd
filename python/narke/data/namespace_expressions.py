"""The methods of expressions by kind of value, where Ray has them."""

from narke.data import expression_namespaces as _own
from narke.data.expression_namespaces import *  # noqa: F403

__all__ = list(_own.__all__)
