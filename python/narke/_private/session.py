"""What this process is connected to: the one `Session`, or none."""

from __future__ import annotations

import _thread
import os

TYPE_CHECKING = False  # typing is not cheap to import, and `narke status` is to be quick
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Session", "close", "connected", "current", "native", "on_close", "open_session"]

SCRIPT_MODE = 0
WORKER_MODE = 1


class Session:
    """One connection of this process to a cluster.

    Attributes:
        mode: SCRIPT_MODE in drivers, WORKER_MODE in workers.
        info: what the node said at registration: node_id, job_id, worker_id (bytes), session_dir, and so on.
        namespace: where named actors without a namespace live.
        runtime_env: the environment that tasks of this process inherit, as a dict.
        job_config: the job's `JobConfig`, or None.
        address_info: what `RayContext.address_info` shows.
        node: the process of a node this program started, or None.
        log_printer: shows workers' output, or None.
        pid: the process the connection belongs to; a forked child must not use it.
    """

    def __init__(
        self,
        mode: int,
        info: dict[str, Any],
        namespace: str,
        runtime_env: dict[str, Any] | None = None,
        job_config: Any = None,
        address_info: dict[str, Any] | None = None,
        node: Any = None,
    ) -> None:
        self.mode = mode
        self.info = info
        self.namespace = namespace
        self.runtime_env = runtime_env or {}
        self.job_config = job_config
        self.address_info = address_info or {}
        self.node = node
        self.log_printer: Any = None
        self.pid = os.getpid()


lock = _thread.RLock()
_session: Session | None = None
_extension: Any = None  # the module, once it was needed
_closers: list[Callable[[], None]] = []
_background: set[int] = set()  # threads


def current() -> Session | None:
    """The session of this process; None before `init`, after `shutdown`, and in a forked child of the driver."""
    if _session is not None and _session.pid != os.getpid():
        return None
    return _session


def connected() -> Session:
    """The session, made by `init()` with its defaults if there is none yet."""
    session = current()
    if session is None:
        from narke import _init

        _init.auto_init()
        session = current()
        assert session is not None
    return session


def native() -> Any:
    """The extension module, connected."""
    global _extension
    connected()
    if _extension is None:
        from narke import _native as _extension

    return _extension


class Background:
    """While it is entered, its thread begins no session: if there is none, the one it served has ended."""

    def __enter__(self) -> None:
        _background.add(_thread.get_ident())

    def __exit__(self, *error: object) -> None:
        _background.discard(_thread.get_ident())  # another thread may get the number


def is_in_background() -> bool:
    """Whether this thread begins no session."""
    return _thread.get_ident() in _background


def open_session(session: Session) -> None:
    """Make `session` the one of this process."""
    global _session
    _session = session


def close() -> Session | None:
    """Forget the session and run what `on_close` registered; returns the session there was."""
    global _session
    session, _session = _session, None
    for closer in _closers:
        closer()
    return session


def on_close(closer: Callable[[], None]) -> None:
    """Call `closer` whenever a session ends: for caches whose content belongs to one cluster."""
    if closer not in _closers:
        _closers.append(closer)
