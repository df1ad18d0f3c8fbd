"""A breakpoint that is reached over a socket, for code that runs in a worker without a terminal."""

from __future__ import annotations

import hmac
import json
import os
import pdb
import secrets
import socket
import sys
import time
from types import FrameType
from typing import IO, Any

import narke
from narke.util.annotations import DeveloperAPI

__all__ = ["set_trace"]

_KV_NAMESPACE = b"debugger"
_LOOPBACK = "127.0.0.1"
_TIMEOUT_VARIABLE = "NARKE_DEBUGGER_TIMEOUT_S"
_DEFAULT_TIMEOUT_S = 3600.0
_CODE_TIMEOUT_S = 30.0
_LONGEST_CODE_LINE = 100


class _SocketPdb(pdb.Pdb):
    """The standard debugger with a connection in place of the terminal."""

    def __init__(self, connection: socket.socket, commands: IO[str], answers: IO[str]) -> None:
        super().__init__(stdin=commands, stdout=answers, skip=["narke.*"])
        self._connection: socket.socket | None = connection
        self.use_rawinput = False
        self.prompt = "(narke-pdb) "

    def do_quit(self, arg: str) -> Any:
        """Leave the debugger and let the program go on."""
        self.set_continue()
        self._close()
        return 1

    do_q = do_exit = do_quit

    def do_continue(self, arg: str) -> Any:
        """Let the program go on."""
        self.set_continue()
        self._close()
        return 1

    do_c = do_cont = do_continue

    def do_EOF(self, arg: str) -> Any:
        """The other side hung up: let the program go on."""
        return self.do_continue(arg)

    def _close(self) -> None:
        if self._connection is not None:
            self.stdin.close()  # the streams keep the socket open
            self.stdout.close()
            self._connection.close()
            self._connection = None


@DeveloperAPI
def set_trace(breakpoint_uuid: bytes | None = None) -> None:
    """Stop here until somebody has connected to this process and lets it go on.

    The address is written to standard error and listed for ``narke debug``; it accepts connections from this
    host only, and only with the code that stands beside it. Without a connection within
    ``NARKE_DEBUGGER_TIMEOUT_S`` seconds (3600) the program goes on.

    Args:
        breakpoint_uuid: name of the breakpoint in the list; None for a new one.
    """
    frame = sys._getframe(1)
    key = breakpoint_uuid or os.urandom(16).hex().encode()
    _stop_at(frame, key, float(os.environ.get(_TIMEOUT_VARIABLE, _DEFAULT_TIMEOUT_S)))


def _stop_at(frame: FrameType, key: bytes, timeout_s: float) -> None:
    debugger = _connected(frame, key, timeout_s)
    if debugger is not None:
        debugger.set_trace(frame)


def _connected(frame: FrameType, key: bytes, timeout_s: float) -> _SocketPdb | None:
    """A debugger that somebody connected to, None after the timeout."""
    where, code = f"{frame.f_code.co_filename}:{frame.f_lineno}", secrets.token_hex(8)
    with socket.create_server((_LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        _say(f"breakpoint at {where} in process {os.getpid()}: `nc {_LOOPBACK} {port}`, then the code {code}")
        address = f"{_LOOPBACK}:{port}"
        entry = {"address": address, "code": code, "pid": os.getpid(), "where": where, "time": time.time()}
        _announce(key, entry)
        try:
            return _accept(listener, code, time.monotonic() + timeout_s)
        except TimeoutError:
            _say(f"nobody connected to the breakpoint at {where} within {timeout_s:g} s; going on")
            return None
        finally:
            _withdraw(key)


def _accept(listener: socket.socket, code: str, deadline_s: float) -> _SocketPdb:
    """Wait for a connection whose first line is the code: a debugger runs whatever it is told.

    Raises:
        TimeoutError: none came in time.
    """
    while True:
        listener.settimeout(max(deadline_s - time.monotonic(), 0.001))
        connection, _ = listener.accept()
        connection.settimeout(_CODE_TIMEOUT_S)
        # Two streams: one for both ways would drop what it has read ahead at each write.
        commands = connection.makefile("r", encoding="utf-8", newline="\n")
        answers = connection.makefile("w", buffering=1, encoding="utf-8", newline="\n")
        if _knows(commands, code):
            connection.settimeout(None)
            return _SocketPdb(connection, commands, answers)
        for end in (commands, answers, connection):
            end.close()


def _knows(commands: IO[str], code: str) -> bool:
    try:
        given = commands.readline(_LONGEST_CODE_LINE).strip()
    except (OSError, UnicodeDecodeError):
        return False
    return hmac.compare_digest(given.encode(), code.encode())


def _say(text: str) -> None:
    print(f"narke debugger: {text}", file=sys.stderr, flush=True)


def _announce(key: bytes, breakpoint: dict[str, Any]) -> None:
    """Put the breakpoint where ``narke debug`` looks for it; without a cluster the message has to do."""
    if narke.is_initialized():
        from narke._private import kv

        kv.put(key, json.dumps(breakpoint).encode(), namespace=_KV_NAMESPACE)


def _withdraw(key: bytes) -> None:
    if narke.is_initialized():
        from narke._private import kv

        kv.delete(key, namespace=_KV_NAMESPACE)
