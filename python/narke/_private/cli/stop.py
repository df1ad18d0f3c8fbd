"""``narke stop``: ends the nodes that `narke start` started on this machine."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import time
from typing import Any

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Stop them; returns 1 when one is still there after the grace period."""
    parser = argparse.ArgumentParser(prog="narke stop", description=__doc__)
    parser.add_argument("--force", "-f", action="store_true", help="kill at once")
    parser.add_argument(
        "--grace-period", "-g", type=float, default=16.0, help="seconds to wait for their end"
    )
    parser.add_argument("--temp-dir", help="folder of sessions")
    options = parser.parse_args(argv)
    nodes = running_nodes(options.temp_dir)
    for info in nodes:
        _signal(info["node_pid"], signal.SIGKILL if options.force else signal.SIGTERM)
    left = _await_end([info["node_pid"] for info in nodes], options.grace_period)
    print(
        f"Stopped {len(nodes) - len(left)} of {len(nodes)} nodes."
        if nodes
        else "No node that narke start began runs."
    )
    if left:
        print(f"Still running: {left}; `narke stop --force` kills them.")
    return 1 if left else 0


def running_nodes(temp_dir: str | None = None) -> list[dict[str, Any]]:
    """What info.json says of each running session that `narke start` made, with its folder under ``session_dir``."""
    from narke._private import sessions_dir

    found = []
    for path in reversed(sessions_dir.sessions(sessions_dir.base_dir(temp_dir))):
        info = sessions_dir.read_info(path)
        if info.get("node_pid") and sessions_dir.is_alive(path):
            found.append({**info, "session_dir": path})
    return found


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
        os.kill(pid, number)


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _await_end(pids: list[int], limit_s: float) -> list[int]:
    deadline = time.monotonic() + limit_s
    left = [pid for pid in pids if _is_running(pid)]
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [pid for pid in left if _is_running(pid)]
    return left
