import io
import threading

import pytest

from narke.util import inspect_serializability

LOCK = threading.Lock()


class Holder:
    def __init__(self, depth=0):
        self.inner = Holder(depth - 1) if depth else LOCK
        self.fine = 1


class Slotted:
    __slots__ = ("lock",)

    def __init__(self):
        self.lock = LOCK


def uses_a_global():
    return LOCK


def make_closure():
    lock = threading.Lock()
    return lambda: lock


def inspected(value, **options):
    out = io.StringIO()
    ok, failures = inspect_serializability(value, print_file=out, **options)
    return ok, {failure.path for failure in failures}, out.getvalue()


@pytest.mark.parametrize("value", [1, [1, {"a": 2}], lambda: 1, Holder])
def test_what_travels(value):
    ok, paths, text = inspected(value)
    assert ok and not paths and "FAIL" not in text


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, ""),
        (Holder(), "inner"),
        (Holder(2), "inner -> inner -> inner"),
        (Slotted(), "lock"),
        (make_closure(), "lock"),
        ({"a": [1, LOCK]}, "['a'] -> [1]"),
        (Holder().__init__, "__self__ -> inner"),
    ],
)
def test_names_the_part_that_fails(value, path):
    ok, paths, text = inspected(value)
    assert not ok
    assert paths == {path}
    assert "cannot pickle '_thread.lock'" in text and "register_serializer" in text


def test_depth_bounds_the_descent():
    _, paths, _ = inspected(Holder(5), depth=2)
    assert paths == {"inner -> inner"}


def test_name_is_shown():
    _, paths, text = inspected(LOCK, name="my lock")
    assert "'my lock'" in text and paths == {"my lock"}


def test_a_cycle_ends():
    loop = {"lock": LOCK}
    loop["self"] = loop
    ok, paths, _ = inspected(loop)
    assert not ok and "['lock']" in paths


def test_failure_describes_itself():
    _, failures = inspect_serializability(Holder(), print_file=io.StringIO())
    (failure,) = failures
    assert failure.obj is LOCK and failure.name == "inner" and isinstance(failure.parent, Holder)
    assert "path=inner" in repr(failure)
