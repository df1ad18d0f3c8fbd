"""Small pieces of HTML for notebooks."""

from narke.widgets.render import Template
from narke.widgets.util import make_table_html_repr

__all__ = ["Template", "make_table_html_repr"]
