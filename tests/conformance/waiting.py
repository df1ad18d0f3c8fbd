"""Waits that end on a condition, with a deadline."""

import pathlib
import time
import uuid


def wait_for(condition, timeout_s=30.0, what="the condition"):
    """Return the first true value of `condition()`; AssertionError after `timeout_s` seconds without one."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come about within {timeout_s} s")


def hold(path, timeout_s=60.0):
    """Block until the file `path` exists."""
    wait_for(pathlib.Path(path).exists, timeout_s, f"file {path}")


def mark(folder, name="mark"):
    """Leave one more file in `folder`; returns how many of that name there are now."""
    pathlib.Path(folder, f"{name}-{uuid.uuid4().hex}").touch()
    return len(marks(folder, name))


def marks(folder, name="mark"):
    """The files that `mark` left in `folder`."""
    return sorted(pathlib.Path(folder).glob(f"{name}-*"))


def is_running(pid):
    """Whether a process `pid` exists and is not a zombie."""
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"
