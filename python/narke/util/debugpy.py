"""A breakpoint for editors that speak the debug adapter protocol."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import Any

from narke.util.annotations import DeveloperAPI

__all__ = ["POST_MORTEM_ERROR_UUID", "set_trace", "stop"]

POST_MORTEM_ERROR_UUID = "post_mortem_error_uuid"
_LOOPBACK = "127.0.0.1"
_TIMEOUT_VARIABLE = "NARKE_DEBUGGER_TIMEOUT_S"
_DEFAULT_TIMEOUT_S = 3600.0

_lock = threading.Lock()
_address_of: dict[int, tuple[str, int]] = {}


@DeveloperAPI
def set_trace(breakpoint_uuid: str | None = None) -> None:
    """Stop here until an editor has attached to this process.

    The address is written to standard error; it accepts connections from this host only. Without an editor
    within ``NARKE_DEBUGGER_TIMEOUT_S`` seconds (3600) the program goes on.

    Args:
        breakpoint_uuid: name of the breakpoint in the message.

    Raises:
        ImportError: the package ``debugpy`` is not installed.
    """
    stop(breakpoint_uuid)


def stop(breakpoint_uuid: str | None = None) -> None:
    """`set_trace` for callers in the package: the editor stops in the first frame outside of it."""
    debugpy = _debugpy()
    with _lock:
        address = _address_of.get(os.getpid()) or debugpy.listen((_LOOPBACK, 0))
        _address_of[os.getpid()] = address
    label = f" {breakpoint_uuid}" if breakpoint_uuid else ""
    print(
        f"narke debugger: breakpoint{label}: attach an editor to {address[0]}:{address[1]}", file=sys.stderr
    )
    from narke.util import rpdb

    key = os.urandom(16).hex().encode()
    rpdb.announce(key, f"{address[0]}:{address[1]}", label.strip() or "breakpoint", "waits for an editor", "")
    giving_up = threading.Timer(
        float(os.environ.get(_TIMEOUT_VARIABLE, _DEFAULT_TIMEOUT_S)), debugpy.wait_for_client.cancel
    )
    giving_up.daemon = True
    giving_up.start()
    try:
        debugpy.wait_for_client()
    finally:
        giving_up.cancel()
        rpdb.withdraw(key)
    if debugpy.is_client_connected():
        debugpy.breakpoint()


def _debugpy() -> Any:
    try:
        return importlib.import_module("debugpy")
    except ImportError as error:
        raise ImportError(
            "this breakpoint needs debugpy: install it with `pip install debugpy`, or use "
            "narke.util.pdb.set_trace()"
        ) from error
