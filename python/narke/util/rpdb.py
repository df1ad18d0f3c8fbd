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

__all__ = ["post_mortem", "set_trace", "stop_at"]

_KV_NAMESPACE = b"debugger"
_LOOPBACK = "127.0.0.1"
_TIMEOUT_VARIABLE = "NARKE_DEBUGGER_TIMEOUT_S"
_DEFAULT_TIMEOUT_S = 3600.0
_CODE_TIMEOUT_S = 30.0
_LONGEST_CODE_LINE = 100
_LONGEST_WHY = 200


class _SocketPdb(pdb.Pdb):
    """The standard debugger with a connection in place of the terminal."""

    def __init__(self, connection: socket.socket, commands: IO[str], answers: IO[str]) -> None:
        super().__init__(stdin=commands, stdout=answers, skip=["narke.*"], nosigint=True)
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

    It is listed for ``narke debug`` (without a cluster the address and a code go to standard error); it accepts
    connections from this host only, and only with the code. Without a connection within
    ``NARKE_DEBUGGER_TIMEOUT_S`` seconds (3600) the program goes on.

    Args:
        breakpoint_uuid: name of the breakpoint in the list; None for a new one.
    """
    stop_at(sys._getframe(1), breakpoint_uuid)


def stop_at(frame: FrameType, breakpoint_uuid: bytes | None = None) -> None:
    """`set_trace` at the line where `frame` is."""
    debugger = _connected(f"{frame.f_code.co_filename}:{frame.f_lineno}", "breakpoint", breakpoint_uuid)
    if debugger is not None:
        debugger.set_trace(frame)


def post_mortem(exc: BaseException) -> None:
    """Wait, as `set_trace` does, for somebody who looks at where an exception was raised; the program goes on after.

    Args:
        exc: the exception, with its traceback.
    """
    traceback = exc.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is None:
        return
    where = f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"
    debugger = _connected(where, f"failure: {type(exc).__name__}: {exc}"[:_LONGEST_WHY], None)
    if debugger is not None:
        debugger.reset()
        debugger.interaction(None, exc.__traceback__)


def _timeout_s() -> float:
    return float(os.environ.get(_TIMEOUT_VARIABLE, _DEFAULT_TIMEOUT_S))


def _connected(where: str, why: str, breakpoint_uuid: bytes | None) -> _SocketPdb | None:
    """A debugger that somebody connected to, None after the timeout."""
    key, timeout_s = breakpoint_uuid or os.urandom(16).hex().encode(), _timeout_s()
    code = secrets.token_hex(16)
    with socket.create_server((_LOOPBACK, 0)) as listener:
        port = listener.getsockname()[1]
        if narke.is_initialized():
            _say(f"{why} at {where} in process {os.getpid()}: run `narke debug` on a host of the cluster")
        else:
            _say(f"{why} at {where} in process {os.getpid()}: `nc {_LOOPBACK} {port}`, then the code {code}")
        announce(key, f"{_LOOPBACK}:{port}", where, why, code)
        try:
            return _accept(listener, code, time.monotonic() + timeout_s)
        except TimeoutError:
            _say(f"nobody connected to the breakpoint at {where} within {timeout_s:g} s; going on")
            return None
        finally:
            withdraw(key)


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


def _task_name() -> str:
    """What this process is running, for the list of breakpoints."""
    if not narke.is_initialized():
        return ""
    from narke import _native

    return str(_native.speaker() or "")


def _say(text: str) -> None:
    print(f"narke debugger: {text}", file=sys.stderr, flush=True)


def announce(key: bytes, address: str, where: str, why: str, code: str) -> None:
    """List a place where this process waits for ``narke debug``; without a cluster nothing is listed.

    Args:
        key: its name in the list.
        address: where it is reached.
        where: file and line.
        why: what stopped it.
        code: what lets a person in; "" when an editor is waited for.
    """
    if not narke.is_initialized():
        return
    from narke._private import kv, state

    node_id = narke.get_runtime_context().get_node_id()
    address_of = {node["NodeID"]: node["NodeManagerAddress"] for node in state.nodes()}
    entry = {"address": address, "code": code, "pid": os.getpid(), "where": where, "why": why}
    entry.update(time=time.time(), host=socket.gethostname(), task=_task_name())
    entry.update(node_id=node_id, node_ip=address_of.get(node_id, ""))
    kv.put(key, json.dumps(entry).encode(), namespace=_KV_NAMESPACE)


def withdraw(key: bytes) -> None:
    """Take it off the list."""
    if narke.is_initialized():
        from narke._private import kv

        kv.delete(key, namespace=_KV_NAMESPACE)
