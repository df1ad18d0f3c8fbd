"""A link that can be cut and healed: a TCP proxy in front of one address."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

__all__ = ["Proxy"]

_PIECE = 1 << 16
_LOOK_S = 0.05


class Proxy:
    """Passes bytes between whoever connects and an address. While it is cut nothing passes, and nothing is closed.

    Args:
        target: ``host:port`` behind it.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open = threading.Event()
        self._open.set()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def cut(self) -> None:
        """From now on nothing passes."""
        self._open.clear()

    def heal(self) -> None:
        """What was held back passes, and what comes after it."""
        self._open.set()

    def close(self) -> None:
        """End all links and the proxy."""
        self._stopping.set()
        self._open.set()
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        self._listener.settimeout(_LOOK_S)
        while not self._stopping.is_set():
            try:
                near, _ = self._listener.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(near,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            self._open.wait()
            with socket.create_connection(self._target, 5) as far:
                self._pass_on(near, far)

    def _pass_on(self, near: socket.socket, far: socket.socket) -> None:
        while not self._stopping.is_set():
            ready, _, _ = select.select([near, far], [], [], _LOOK_S)
            self._open.wait()
            for side in ready:
                piece = side.recv(_PIECE)
                if not piece:
                    return
                (far if side is near else near).sendall(piece)
