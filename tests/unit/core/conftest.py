"""Tests of the core API that need no engine; the package is the one in the source tree."""

import pathlib
import sys

PACKAGE = str(pathlib.Path(__file__).resolve().parents[3] / "python")
if PACKAGE not in sys.path:
    sys.path.insert(0, PACKAGE)
