"""Run by test_stack_layouts.py in each interpreter that it finds: frames.cc's stacks against its own."""

import asyncio
import sys
import threading

from stack_layouts import stacks, watch


def told(frame):
    """What the interpreter itself says of a frame and its callers."""
    out = []
    while frame is not None:
        code = frame.f_code
        out.append((getattr(code, "co_qualname", code.co_name), code.co_filename, frame.f_lineno))
        frame = frame.f_back
    return out


def seen(native_id):
    return next(stack for stack in stacks() if stack[0] == native_id)


def check():
    own, expected = seen(threading.get_native_id()), told(sys._getframe())  # on one line
    frames = own[4][1:]  # without seen() itself
    assert frames == expected, (frames, expected)
    return own


class Holder:
    def method(self, depth):
        if depth:
            return self.method(depth - 1)
        inner = lambda: list(self.generates(3))  # noqa: E731
        return (
            inner(),
            inner(),
        )

    def generates(self, count):
        for _ in range(count):
            yield from self.rests()

    def rests(self):
        yield check()
        yield sorted([1, 2], key=lambda _: len(check()))  # a call out of C


async def coroutine():
    await asyncio.sleep(0)
    return await asyncio.gather(*(one() for _ in range(3)))


async def one():
    await asyncio.sleep(0)
    return check()


def waits(ready, gate):
    ready.set()
    gate.wait()


def spins(gate):
    while not gate.is_set():
        sum(numbers(50))


def numbers(count):
    for number in range(count):
        yield doubled(number)


def doubled(number):
    return number * 2


def long_function():
    """Lines far apart, and more than a byte's worth of code."""
    value = 0
    for _ in range(2):
        value += sum([value, value, value]) + len(str(value)) + max(value, 1, 2) + min(value, 3, 4)
        value += sum([value, value, value]) + len(str(value)) + max(value, 1, 2) + min(value, 3, 4)
        value += sum([value, value, value]) + len(str(value)) + max(value, 1, 2) + min(value, 3, 4)
        try:
            raise ValueError(value)
        except ValueError:
            value += 1

            # far

            check()
        value += sum([value, value, value]) + len(str(value)) + max(value, 1, 2) + min(value, 3, 4)
    with threading.Lock():
        check()


def ünïcode_名前():
    return check()


def a_thread_that_waits():
    ready, gate = threading.Event(), threading.Event()
    thread = threading.Thread(target=waits, args=(ready, gate))
    thread.start()
    ready.wait()
    while sys._current_frames()[thread.ident].f_code.co_name != "wait":
        pass
    found = seen(thread.native_id)
    assert any(frame[0] == "waits" for frame in found[4]), found
    assert not found[1] and not found[2], found
    gate.set()
    thread.join()


def a_thread_that_runs():
    gate = threading.Event()
    thread = threading.Thread(target=spins, args=(gate,))
    thread.start()
    looks = [stack for each in watch(3000) for stack in each if stack[0] == thread.native_id]
    gate.set()
    thread.join()
    names = {"spins", "numbers", "doubled"}
    inner = {frame[0] for look in looks for frame in look[4] if frame[1] == __file__}
    assert inner <= names, inner - names
    whole = [look for look in looks if look[4] and look[4][-1][0].endswith("_bootstrap")]
    assert len(whole) > 0.9 * len(looks), (len(whole), len(looks))
    assert any(look[2] for look in looks), "it never held the lock"
    assert {"spins"} < inner, inner


own = check()
assert own[1] and own[2], own
Holder().method(20)
asyncio.run(coroutine())
long_function()
ünïcode_名前()
a_thread_that_waits()
a_thread_that_runs()
print("OK")
