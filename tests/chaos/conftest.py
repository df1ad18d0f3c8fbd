"""The modules of the chaos suite, and the command line's nodes from the tests of clusters; namespaces."""

from __future__ import annotations

import pathlib
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "cluster"), str(_HERE.parent / "outside")]
