"""Sessions on disk: private, addressable, and found only while they run."""

import os
import socket
import stat

import pytest

from narke._private import sessions_dir
from narke.exceptions import AuthenticationError


@pytest.fixture
def base(tmp_path_factory):
    # A short path: Unix sockets lie below it.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="nk", dir="/tmp") as folder:
        yield folder


@pytest.fixture
def running(base):
    """A session whose node's socket accepts."""
    path = sessions_dir.create_session(base)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sessions_dir.socket_path(path))
        listener.listen(16)
        yield path


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_session_is_private(base):
    path = sessions_dir.create_session(base)
    assert mode(path) == 0o700 and mode(os.path.join(path, "token")) == 0o600
    assert len(sessions_dir.token_of(path)) == 64


def test_tokens_differ(base):
    tokens = {sessions_dir.token_of(sessions_dir.create_session(base)) for _ in range(3)}
    assert len(tokens) == 3


def test_missing_token(base):
    with pytest.raises(AuthenticationError, match="cannot be read"):
        sessions_dir.token_of(base)


def test_long_folder_is_refused(base):
    with pytest.raises(ValueError, match="RAY_TMPDIR"):
        sessions_dir.create_session(os.path.join(base, "x" * 100))


def test_base_follows_the_environment(base, monkeypatch):
    monkeypatch.setenv("RAY_TMPDIR", base)
    assert sessions_dir.base_dir() == os.path.join(base, "narke")
    assert sessions_dir.base_dir(base) == base


def test_another_hosts_session_is_not_this_hosts(base, running):
    address = sessions_dir.publish(running, "192.0.2.1")  # kept for documents: no host has it
    assert sessions_dir.find_by_address(base, address) is None


def test_found_by_address(base, running):
    address = sessions_dir.publish(running, "127.0.0.1")
    assert sessions_dir.find_by_address(base, address) == running
    assert sessions_dir.read_info(running)["address"] == address
    sessions_dir.remove_address(running)
    assert sessions_dir.find_by_address(base, address) is None


def test_wanted_port(base, running):
    assert sessions_dir.publish(running, "10.0.0.1", 7001) == "10.0.0.1:7001"
    other = sessions_dir.create_session(base)
    with pytest.raises(RuntimeError, match="7001"):
        sessions_dir.publish(other, "10.0.0.1", 7001)


def test_a_dead_sessions_port_is_free(base):
    dead, alive = sessions_dir.create_session(base), sessions_dir.create_session(base)
    sessions_dir.publish(dead, "10.0.0.1", 7001)
    assert sessions_dir.find_by_address(base, "10.0.0.1:7001") is None
    assert sessions_dir.publish(alive, "10.0.0.1", 7001) == "10.0.0.1:7001"


def test_latest(base, running):
    assert sessions_dir.latest(base) is None
    sessions_dir.set_latest(sessions_dir.create_session(base))
    assert sessions_dir.latest(base) is None  # it does not run
    sessions_dir.set_latest(running)
    assert sessions_dir.latest(base) == running


@pytest.mark.parametrize("address", ["nowhere", "10.0.0.1:", "10.0.0.1:1"])
def test_unknown_address(base, address):
    assert sessions_dir.find_by_address(base, address) is None


def test_sessions_that_ended_long_ago_are_removed(base, running):
    old, recent = sessions_dir.create_session(base), sessions_dir.create_session(base)
    for path in (old, running):
        os.utime(path, (1, 1))
    new = sessions_dir.create_session(base)
    assert not os.path.exists(old)
    assert all(os.path.isdir(path) for path in (recent, running, new))


def test_only_so_many_ended_sessions_are_kept(base, monkeypatch):
    monkeypatch.setattr(sessions_dir, "_KEEP_SESSIONS", 3)
    paths = [sessions_dir.create_session(base) for _ in range(6)]
    assert [os.path.isdir(path) for path in paths] == [False, False, True, True, True, True]
