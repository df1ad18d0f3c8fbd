"""Local folders for files that live no longer than the cluster's session."""

from __future__ import annotations

import os
import tempfile

__all__ = ["session_folder"]


def session_folder() -> str:
    """A local folder for this session's artifacts; made if it is not there."""
    import narke

    inside = narke.is_initialized() and _session_name()
    folder = os.path.join(
        tempfile.gettempdir(), f"narke-train-{os.getuid()}", inside or f"process_{os.getpid()}"
    )
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


def _session_name() -> str:
    import narke

    return narke.get_runtime_context().get_session_name()
