"""What ``import ray`` finds in programs that a program under `narke run` starts: gives Narke in its own place."""

import sys

from narke import _alias

del sys.modules[__name__]
_alias.install()
