"""The process that moves objects between a node's memory and storage that all nodes reach.

The node writes lines to its socket: ``open JSON`` once, then ``NUMBER write|read PATH OFFSET SIZE``, ``NUMBER remove
PATH``, ``NUMBER find PATH...``, and ``clear``: everything is to be removed at the end. Each numbered line is answered
by ``NUMBER ok TEXT`` or ``NUMBER error TEXT``. What concerns one path is done in order. It ends when the node does.
"""

from __future__ import annotations

import json
import mmap
import os
import queue
import socket
import sys
import threading
import time
import zlib
from typing import Any

__all__ = ["main"]

_THREADS = 8
_TRIES = 4
_PAUSE_S = 0.5  # before the second try, then twice as long each time
_END_S = 60.0  # clearing up may take so long


class _Spiller:
    def __init__(self, link: socket.socket, memory: mmap.mmap) -> None:
        self._link = link
        self._memory = memoryview(memory)
        self._sending = threading.Lock()
        self._queues: list[queue.SimpleQueue[list[str]]] = [queue.SimpleQueue() for _ in range(_THREADS)]
        self._storage: Any = None
        self._problem = "the storage was not named"
        self._clears = False

    def run(self) -> None:
        for waiting in self._queues:
            threading.Thread(target=self._work, args=(waiting,), daemon=True).start()
        rest = b""
        while data := self._receive():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._take(line.decode())
        if self._clears and self._storage is not None:
            self._clear()

    def _receive(self) -> bytes:
        """What came; nothing once the node has ended."""
        try:
            return self._link.recv(1 << 16)
        except ConnectionResetError:
            # It ended without reading all answers; what it said before is still to come.
            return self._link.recv(1 << 16)

    def _take(self, line: str) -> None:
        if line.startswith("open "):
            self._open(line[5:])
        elif line == "clear":
            self._clears = True
        else:
            words = line.split()
            self._queues[zlib.crc32(words[2].encode()) % _THREADS].put(words)

    def _open(self, text: str) -> None:
        from narke._private.spill_storage import Storage

        try:
            self._storage = Storage(json.loads(text))
        except Exception as error:
            self._problem = _one_line(error)
            print(self._problem, file=sys.stderr, flush=True)

    def _work(self, waiting: queue.SimpleQueue[list[str]]) -> None:
        while True:
            number, *words = waiting.get()
            try:
                answer = f"{number} ok {self._try(words)}"
            except Exception as error:
                answer = f"{number} error {_one_line(error)}"
            try:
                with self._sending:
                    self._link.sendall((answer + "\n").encode())
            except OSError:  # the node has ended
                return

    def _try(self, words: list[str]) -> str:
        """Storage over a network fails now and then."""
        for attempt in range(_TRIES):
            if self._storage is None:
                raise OSError(self._problem)
            try:
                return self._do(words)
            except FileNotFoundError:
                raise
            except Exception:
                if attempt == _TRIES - 1:
                    raise
                time.sleep(_PAUSE_S * 2**attempt)
        raise AssertionError("unreachable")

    def _do(self, words: list[str]) -> str:
        what, *paths = words
        if what == "find":
            for place, path in enumerate(paths):
                size = self._storage.size(path)
                if size is not None:
                    return f"{place} {size}"
            return "none"
        if what == "remove":
            self._storage.remove(paths[0])
            return ""
        path, offset, size = paths[0], int(paths[1]), int(paths[2])
        data = self._memory[offset : offset + size]
        self._storage.write(path, data) if what == "write" else self._storage.read(path, data)
        return ""

    def _clear(self) -> None:
        """The last lines may still be worked on; what they write is removed too."""
        begun = time.monotonic()
        deadline = begun + _END_S
        while any(not waiting.empty() for waiting in self._queues) and time.monotonic() < begun + _END_S / 2:
            time.sleep(0.01)
        while time.monotonic() < deadline:
            try:
                return self._storage.clear()
            except Exception as error:
                print(f"what was spilled is not removed yet: {_one_line(error)}", file=sys.stderr, flush=True)
                time.sleep(_PAUSE_S)


def _one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:1000]


def main() -> None:
    """Serve the node whose socket's and memory's numbers end the command line."""
    link_fd, store_fd = (int(word) for word in sys.argv[-2:])
    memory = mmap.mmap(store_fd, os.fstat(store_fd).st_size, mmap.MAP_SHARED)
    _Spiller(socket.socket(fileno=link_fd), memory).run()
    os._exit(0)  # threads that wait for storage are not waited for
