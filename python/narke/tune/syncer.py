"""Where an experiment's files go, in the words of older programs.

Files are written straight to their storage, whatever filesystem it is on; there is nothing to choose but the period in
which an experiment's own files are copied to a storage that is not local.
"""

from __future__ import annotations

from narke.train._config import SyncConfig

__all__ = ["DEFAULT_SYNC_PERIOD", "DEFAULT_SYNC_TIMEOUT", "SyncConfig"]

DEFAULT_SYNC_PERIOD = 300
DEFAULT_SYNC_TIMEOUT = 1800
