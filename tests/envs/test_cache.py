"""Folders named by their content: made once, bounded, shared by processes."""

import os
import subprocess
import sys
import threading

import pytest

from narke._private.runtime_env import cache as caches
from narke._private.runtime_env.cache import Cache, content_key


def writer(size, calls):
    def make(path):
        calls.append(path)
        os.makedirs(path)
        with open(os.path.join(path, "file"), "wb") as file:
            file.write(b"x" * size)

    return make


def test_a_folder_is_made_once_by_many_threads(tmp_path):
    calls = []
    kept = [Cache(str(tmp_path), "pip") for _ in range(8)]
    threads = [threading.Thread(target=each.use, args=("key", writer(1, calls))) for each in kept]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(calls) == 1
    for each in kept:
        each.close()


def test_what_failed_is_made_again(tmp_path):
    def fail(path):
        os.makedirs(path)
        raise ValueError("no")

    kept = Cache(str(tmp_path), "pip")
    with pytest.raises(ValueError):
        kept.use("key", fail)
    calls = []
    kept.use("key", writer(1, calls))
    assert len(calls) == 1 and kept.held == [str(tmp_path / "pip" / "key.lock")]


def test_what_a_killed_process_left_is_made_again(tmp_path):
    code = (
        "import os, sys; from narke._private.runtime_env.cache import Cache\n"
        "def make(path): os.makedirs(path); os.kill(os.getpid(), 9)\n"
        "Cache(sys.argv[1], 'pip').use('key', make)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)]).returncode == -9
    calls = []
    path = Cache(str(tmp_path), "pip").use("key", writer(3, calls))
    assert os.listdir(path) == ["file"] and len(calls) == 1


def test_the_least_used_go_and_those_in_use_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "limit_bytes", lambda kind: 25)
    calls, gone = [], []
    holder, passing = Cache(str(tmp_path), "pip"), Cache(str(tmp_path), "pip")
    for number, cache in enumerate((holder, passing, passing)):
        cache.use(str(number), writer(10, calls), gone.append)
        os.utime(tmp_path / "pip" / f"{number}.lock", (number, number))
    assert not gone, "all were in use"
    passing.close()
    Cache(str(tmp_path), "pip").use("3", writer(10, calls), gone.append)
    assert [os.path.basename(path) for path in gone] == ["1", "2"]
    assert sorted(name for name in os.listdir(tmp_path / "pip") if name.isdigit()) == ["0", "3"]


def test_keys_say_what_is_in_them():
    assert content_key({"a": 1, "b": 2}) == content_key({"b": 2, "a": 1}) != content_key({"a": 1})


def test_a_limit_that_is_no_number_is_named(monkeypatch):
    monkeypatch.setenv("RAY_RUNTIME_ENV_PIP_CACHE_SIZE_GB", "much")
    with pytest.raises(ValueError, match="RAY_RUNTIME_ENV_PIP_CACHE_SIZE_GB.*'much'"):
        caches.limit_bytes("pip")
