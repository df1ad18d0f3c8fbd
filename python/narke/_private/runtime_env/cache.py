"""Folders named by their content: made once under a lock, used by many programs, removed when there are too many."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Cache", "content_key", "limit_bytes", "remove"]

_DEFAULT_LIMIT_GB = 10.0


def content_key(content: Any) -> str:
    """A name for what JSON can express: the same for equal contents."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:40]


def limit_bytes(kind: str) -> int:
    """Most bytes that folders of a kind may take: RAY_RUNTIME_ENV_<KIND>_CACHE_SIZE_GB, 10 by default.

    Raises:
        ValueError: the variable is no number.
    """
    name = f"RAY_RUNTIME_ENV_{kind.upper()}_CACHE_SIZE_GB"
    text = os.environ.get(name) or _DEFAULT_LIMIT_GB
    try:
        return int(float(text) * (1 << 30))
    except ValueError as error:
        raise ValueError(f"the variable {name} must be a number of gigabytes, got {text!r}") from error


class Cache:
    """Folders of one kind below `folder`; the locks of those in use are held until `close`, or the process's end.

    Args:
        folder: where they are; made with access for its owner only.
        kind: names the variable of the limit.

    Raises:
        PermissionError: the folder belongs to another user.
    """

    def __init__(self, folder: str, kind: str) -> None:
        self._folder = os.path.join(folder, kind)
        self._kind = kind
        self._locks: dict[str, int] = {}
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        if os.stat(self._folder).st_uid not in (os.geteuid(), 0):
            raise PermissionError(
                f"{self._folder} belongs to another user; set RAY_TMPDIR to a folder of your own"
            )

    @property
    def held(self) -> list[str]:
        """The files on which shared locks are held."""
        return [self._lock_path(key) for key in self._locks]

    def use(
        self, key: str, make: Callable[[str], int | None], leaving: Callable[[str], None] | None = None
    ) -> str:
        """The folder of `key`, made now if it is not there; it stays until this object is closed.

        Args:
            key: the folder's name.
            make: called with the folder's path; may return the bytes to count for it. Whatever it raises is raised, and
                nothing stays.
            leaving: called with the path of each folder that has to go.
        """
        path = os.path.join(self._folder, key)
        if key in self._locks:
            return path
        lock = None
        while lock is None:
            lock = self._lock_complete(key)
            if lock is None:
                lock = self._lock_made(key, path, make, leaving)
            if lock is None:
                _pause()
        self._locks[key] = lock
        os.utime(lock)  # used now: others go first
        return path

    def close(self) -> None:
        """Let all folders go."""
        for lock in self._locks.values():
            os.close(lock)
        self._locks.clear()

    def _lock_complete(self, key: str) -> int | None:
        """A shared lock of a folder that is there, after whoever makes it now; None: it is not there."""
        lock = self._lock(key, fcntl.LOCK_SH)
        if self._is_complete(key):
            return lock
        os.close(lock)
        return None

    def _lock_made(
        self,
        key: str,
        path: str,
        make: Callable[[str], int | None],
        leaving: Callable[[str], None] | None,
    ) -> int | None:
        """A shared lock of the folder that was made here; None: somebody else has a lock, who may keep it for long."""
        try:
            lock = self._lock(key, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        try:
            if not self._is_complete(key):
                self._make(key, path, make)
            fcntl.flock(lock, fcntl.LOCK_SH)
        except BaseException:
            os.close(lock)
            raise
        self._locks[key] = lock
        self._make_room(leaving)
        return lock

    def _lock_path(self, key: str) -> str:
        return os.path.join(self._folder, f"{key}.lock")

    def _done_path(self, key: str) -> str:
        return os.path.join(self._folder, f"{key}.done")

    def _is_complete(self, key: str) -> bool:
        return os.path.exists(self._done_path(key)) and os.path.isdir(os.path.join(self._folder, key))

    def _lock(self, key: str, kind: int) -> int:
        """A descriptor of the lock file with the lock; the file may be removed meanwhile, then it is made again."""
        while True:
            lock = os.open(self._lock_path(key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(lock, kind)
            except BaseException:
                os.close(lock)
                raise
            with contextlib.suppress(FileNotFoundError):
                if os.stat(self._lock_path(key)).st_ino == os.fstat(lock).st_ino:
                    return lock
            os.close(lock)

    def _make(self, key: str, path: str, make: Callable[[str], int | None]) -> None:
        remove(path)  # what an earlier attempt has left
        try:
            size = make(path)
        except BaseException:
            remove(path)
            raise
        with open(self._done_path(key), "w", encoding="utf-8") as file:
            json.dump({"size_bytes": _size_of(path) if size is None else size}, file)

    def _make_room(self, leaving: Callable[[str], None] | None) -> None:
        """Remove the folders that were used longest ago and are not in use, until the rest is small enough."""
        known = self._known()
        excess = sum(size for _, size, _ in known) - limit_bytes(self._kind)
        for _, size, key in sorted(known):
            if excess <= 0:
                return
            if key not in self._locks and self._remove_unused(key, leaving):
                excess -= size

    def _known(self) -> list[tuple[float, int, str]]:
        out = []
        for name in os.listdir(self._folder):
            key, ending = os.path.splitext(name)
            if ending != ".done":
                continue
            with contextlib.suppress(OSError, ValueError, KeyError):
                with open(self._done_path(key), encoding="utf-8") as file:
                    size = int(json.load(file)["size_bytes"])
                out.append((os.path.getmtime(self._lock_path(key)), size, key))
        return out

    def _remove_unused(self, key: str, leaving: Callable[[str], None] | None) -> bool:
        try:
            lock = os.open(self._lock_path(key), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if leaving is not None:
                leaving(os.path.join(self._folder, key))
            os.unlink(self._done_path(key))
            remove(os.path.join(self._folder, key))
            os.unlink(self._lock_path(key))
        except BlockingIOError:
            return False
        finally:
            os.close(lock)
        return True


def _pause() -> None:
    """Others looked at the same time: let one of them be first."""
    import random

    time.sleep(random.uniform(0.002, 0.02))


def remove(path: str) -> None:
    """Remove a folder with all that is in it; what is no folder stays."""
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)


def _size_of(path: str) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size
    return total
