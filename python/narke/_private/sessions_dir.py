"""Where sessions live on disk, and how a program finds one that runs.

``<base>/session_<time>_<pid>`` belongs to one node or cluster: ``sockets/node``, ``token``, ``logs/``, ``info.json``.
``<base>/ports/<n>`` points to the session whose address ends in ``:<n>``; ``<base>/latest`` to the cluster that
``narke start`` made last.
"""

from __future__ import annotations

import _socket  # what socket is made of; socket itself takes longer to import than the rest of a quick command
import contextlib
import json
import os
import time

TYPE_CHECKING = False  # typing is not cheap to import, and `narke status` is to be quick
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "base_dir",
    "create_session",
    "find_by_address",
    "latest",
    "is_alive",
    "publish",
    "read_info",
    "remove_address",
    "set_latest",
    "socket_path",
    "token_of",
]

_FIRST_PORT, _LAST_PORT = 6379, 60_000
_KEEP_DAYS = 7.0  # for sessions that have ended; NARKE_KEEP_SESSIONS_DAYS says otherwise
_STARTING_S = 120.0  # a node has begun to answer by then
_KEEP_SESSIONS = 200  # and no more than so many of them, newest first
_MOST_REMOVED = 10  # at one start, so that it stays quick
_MAX_SOCKET_PATH = 100  # of the 108 bytes a Unix socket's address holds


def base_dir(temp_dir: str | None = None) -> str:
    """The folder of sessions: `temp_dir`, $RAY_TMPDIR/narke, or /tmp/narke-<uid>; made with access for its owner only.

    Raises:
        PermissionError: it belongs to another user.
    """
    given = temp_dir or (
        os.path.join(os.environ["RAY_TMPDIR"], "narke") if os.environ.get("RAY_TMPDIR") else None
    )
    path = os.path.abspath(given or f"/tmp/narke-{os.getuid()}")
    os.makedirs(path, mode=0o700, exist_ok=True)
    owner = os.stat(path).st_uid
    if owner not in (os.getuid(), 0):
        raise PermissionError(f"{path} belongs to user {owner}; set RAY_TMPDIR to a folder of your own")
    return path


def create_session(base: str, token: str | None = None) -> str:
    """Make a new session folder with its token; returns its path.

    Args:
        base: where sessions live.
        token: that of the cluster to join; a new one, or the environment's, by default.

    Raises:
        ValueError: the path is too long for a socket in it.
    """
    name = (
        f"session_{time.strftime('%Y-%m-%d_%H-%M-%S')}_{time.time_ns() // 1000 % 1_000_000:06d}_{os.getpid()}"
    )
    path = os.path.join(base, name)
    if len(socket_path(path)) > _MAX_SOCKET_PATH:
        raise ValueError(
            f"the session's folder {path} is too long for a Unix socket; set RAY_TMPDIR to a shorter one"
        )
    _remove_old(base)
    for folder in (path, os.path.join(path, "sockets"), os.path.join(path, "logs")):
        os.makedirs(folder, mode=0o700)
    write_private(os.path.join(path, "token"), token or given_token() or os.urandom(32).hex())
    return path


def given_token() -> str | None:
    """The token that the user has set: NARKE_AUTH_TOKEN or RAY_AUTH_TOKEN, or the file that one of
    NARKE_AUTH_TOKEN_PATH and RAY_AUTH_TOKEN_PATH names; None without one.

    Raises:
        narke.exceptions.AuthenticationError: the file cannot be read or is empty.
    """
    for prefix in ("NARKE", "RAY"):
        if token := os.environ.get(f"{prefix}_AUTH_TOKEN"):
            return token.strip()
        if path := os.environ.get(f"{prefix}_AUTH_TOKEN_PATH"):
            return read_token(path)
    return None


def read_token(path: str) -> str:
    """What a file with a token holds.

    Raises:
        narke.exceptions.AuthenticationError: it cannot be read or is empty.
    """
    from narke.exceptions import AuthenticationError

    try:
        with open(path, encoding="ascii") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise AuthenticationError(f"The token file {path} cannot be read: {error}") from error
    if not token:
        raise AuthenticationError(f"The token file {path} is empty; copy the cluster's token into it")
    return token


def _remove_old(base: str) -> None:
    """Remove some of the sessions that ended long ago or that are too many, with their logs."""
    for path in sessions(base):
        if _age_s(os.path.join(path, "spill")) > _STARTING_S and not is_alive(path):
            remove_spilled(path)
    days = float(os.environ.get("NARKE_KEEP_SESSIONS_DAYS", _KEEP_DAYS))
    oldest = time.time() - days * 86_400
    found = sessions(base)[::-1]
    surplus = len(found) - _KEEP_SESSIONS
    for place, path in enumerate(found[:_MOST_REMOVED]):
        try:
            is_old = place < surplus or os.stat(path).st_mtime < oldest
        except FileNotFoundError:  # another program removes it now
            continue
        if is_old and not is_alive(path):
            import shutil

            shutil.rmtree(path, ignore_errors=True)


def _age_s(path: str) -> float:
    """Seconds since it was made or last changed; negative when it is not there."""
    try:
        return time.time() - os.lstat(path).st_mtime
    except FileNotFoundError:
        return -1.0


def spill_dir(session_dir: str, parent: str | None) -> str | None:
    """The folder of a session's own below the one that was asked for; None when none was."""
    return parent and os.path.join(os.path.abspath(parent), f"narke_spilled_{os.path.basename(session_dir)}")


def remove_spilled(session_dir: str) -> None:
    """Remove what a node that did not end in order has left on disk."""
    import shutil

    link = os.path.join(session_dir, "spill")
    shutil.rmtree(os.path.realpath(link), ignore_errors=True)
    with contextlib.suppress(FileNotFoundError, IsADirectoryError):
        os.unlink(link)


def write_private(path: str, text: str) -> None:
    """Write a file that only its owner can read, in one step."""
    draft = f"{path}.{os.getpid()}"
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    os.replace(draft, path)


def socket_path(session_dir: str) -> str:
    """The socket of the session's node."""
    return os.path.join(session_dir, "sockets", "node")


def token_of(session_dir: str) -> bytes:
    """The session's token.

    Raises:
        narke.exceptions.AuthenticationError: it cannot be read.
    """
    try:
        with open(os.path.join(session_dir, "token"), "rb") as file:
            return file.read().strip()
    except OSError as error:
        from narke.exceptions import AuthenticationError

        raise AuthenticationError(f"The token of {session_dir} cannot be read: {error}") from error


def publish(session_dir: str, ip: str, port: int | None = None, also: int | None = None, **facts: Any) -> str:
    """Give the session an address of this machine and write it down; returns ``ip:port``.

    Args:
        session_dir: its folder.
        ip: the address of this machine.
        port: the wanted port; any free one by default.
        also: a second port by which it is found.
        facts: further fields of info.json.

    Raises:
        RuntimeError: the wanted port belongs to another running session, or none is free.
    """
    ports = os.path.join(os.path.dirname(session_dir), "ports")
    os.makedirs(ports, mode=0o700, exist_ok=True)
    candidates = [port] if port else _candidates(session_dir)
    for number in candidates:
        if _claim(os.path.join(ports, str(number)), session_dir):
            address = f"{ip}:{number}"
            if also and also != number:
                _claim(os.path.join(ports, str(also)), session_dir)
            write_info(session_dir, address=address, ip=ip, port=number, **facts)
            return address
    raise RuntimeError(
        f"port {port or 'range'} is taken by another running cluster; stop it or choose another --port"
    )


def _candidates(session_dir: str) -> list[int]:
    span = _LAST_PORT - _FIRST_PORT
    start = hash(session_dir) % span
    return [_FIRST_PORT + (start + step) % span for step in range(0, span, 97)]


def _claim(link: str, session_dir: str) -> bool:
    for _ in range(2):
        try:
            os.symlink(session_dir, link)
            return True
        except FileExistsError:
            if is_alive(os.path.realpath(link)):
                return False
            with contextlib.suppress(FileNotFoundError):
                os.unlink(link)
    return False


def write_info(session_dir: str, **fields: Any) -> None:
    """Add fields to the session's info.json."""
    write_private(os.path.join(session_dir, "info.json"), json.dumps({**read_info(session_dir), **fields}))


def read_info(session_dir: str) -> dict[str, Any]:
    """What info.json holds; {} without one."""
    try:
        with open(os.path.join(session_dir, "info.json"), encoding="utf-8") as file:
            return dict(json.load(file))
    except (OSError, ValueError):
        return {}


def remove_address(session_dir: str) -> None:
    """Give the session's address back."""
    port = read_info(session_dir).get("port")
    link = os.path.join(os.path.dirname(session_dir), "ports", str(port))
    if port and os.path.realpath(link) == os.path.realpath(session_dir):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(link)


def is_alive(session_dir: str) -> bool:
    """Whether the session's node answers at its socket."""
    with contextlib.closing(_socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(socket_path(session_dir))
        except OSError:
            return False
    return True


def set_latest(session_dir: str) -> None:
    """Make this the session that ``init()`` finds."""
    link = os.path.join(os.path.dirname(session_dir), "latest")
    draft = f"{link}.{os.getpid()}"
    os.symlink(session_dir, draft)
    os.replace(draft, link)


def latest(base: str) -> str | None:
    """The running session that ``narke start`` made last; None without one."""
    path = os.path.realpath(os.path.join(base, "latest"))
    return path if os.path.isdir(path) and is_here(path) and is_alive(path) else None


def newest(base: str) -> str | None:
    """The running session that ``"auto"`` means: the one `latest` tells, else the youngest that a program's own
    ``init`` started; None without one."""
    return latest(base) or next(
        (path for path in sessions(base) if _is_of_cluster(path) and is_here(path) and is_alive(path)), None
    )


def _is_of_cluster(path: str) -> bool:
    """Whether it is a cluster's, and not that of one program which is connected from outside."""
    info = read_info(path)
    return bool(info) and "outside_of" not in info


def sessions(base: str) -> list[str]:
    """The folders of all sessions, youngest first."""
    try:
        names = os.listdir(base)
    except FileNotFoundError:
        return []
    return [os.path.join(base, name) for name in sorted(names, reverse=True) if name.startswith("session_")]


def find_by_address(base: str, address: str) -> str | None:
    """The running session of this machine with that address, or a node of this machine that has joined the cluster
    there; None without one."""
    port = address.rpartition(":")[2]
    if not port.isdigit():
        return None
    path = os.path.realpath(os.path.join(base, "ports", port))
    if os.path.isdir(path) and is_here(path) and is_alive(path):
        return path
    return _member_of(base, address)


def _member_of(base: str, address: str) -> str | None:
    for path in sessions(base):
        info = read_info(path)
        # One with a port of its own is a head: it is found by that, or has given it back.
        if info.get("address") == address and "port" not in info and is_here(path) and is_alive(path):
            return path
    return None


def is_here(session_dir: str) -> bool:
    """Whether the session's node has an address of this host: network namespaces may share a file system."""
    return is_own_address(read_info(session_dir).get("ip", "127.0.0.1"))


def is_own_address(ip: str) -> bool:
    """Whether this host has an address; a network namespace is a host of its own."""
    family = _socket.AF_INET6 if ":" in ip else _socket.AF_INET
    with contextlib.closing(_socket.socket(family, _socket.SOCK_DGRAM)) as probe:
        try:
            probe.bind((ip, 0))
        except OSError:
            return False
    return True
