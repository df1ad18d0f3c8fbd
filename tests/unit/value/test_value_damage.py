"""Damaged bytes: an exception, never a crash.

The structure that the codec itself reads (headers, tables, shapes, refs) is damaged in this process: what
comes out must be ValueError, whatever unpickling raises, or a value. The pickle itself is damaged in a child
whose memory is limited, since a damaged pickle may ask for any amount.
"""

import pickle
import random
import subprocess
import sys

import numpy as np
import pytest

ROUNDS = 3_000


def samples(codec):
    refs = [codec.make_ref(b"%028d" % i, b"owner") for i in range(5)]
    return [
        codec.encode(value)
        for value in (
            None,
            True,
            12345,
            1.5,
            "é" * 10,
            b"bytes",
            refs,
            tuple(refs),
            np.arange(10),
            np.zeros((3, 4, 100)),
        )
    ] + [codec.engine_error("RaySystemError", "message", "ab")]


def damaged(rng, data):
    data = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        kind, at = rng.randrange(5), rng.randrange(len(data) + 1)
        if kind == 0:
            data[at:] = b""
        elif kind == 1:
            data[at:at] = rng.randbytes(rng.randint(1, 9))
        elif kind == 2:
            data[at : at + rng.randint(1, 9)] = b""
        elif kind == 3:
            data[at : at + 8] = rng.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]).to_bytes(8, "little")
        elif at < len(data):
            data[min(at, rng.randrange(24))] = rng.randrange(256)
    return bytes(data)


def test_every_form_cut_short(codec):
    for data in samples(codec):
        for size in range(min(len(data), 300)):
            cut = data[:size]
            try:
                codec.decode(cut)
            except ValueError:
                continue
            assert cut[:1] in (b"\x06", b"\x07", b"\x20"), "only text may end anywhere"


@pytest.mark.parametrize("seed", range(11))
def test_damaged_structure(codec, seed):
    rng = random.Random(seed)
    data = samples(codec)[seed]
    failures = 0
    for _ in range(ROUNDS):
        broken = damaged(rng, data)
        if broken[:1] in (b"\x08", b"\x10"):
            continue  # became a pickle: see below
        try:
            codec.decode_in_place(broken)
        except (ValueError, MemoryError):
            failures += 1
    assert failures > 0


def test_buffer_tables_are_checked(codec):
    good = codec.encode([np.arange(1000), np.arange(1000)])
    assert good[:1] == b"\x08" and good[4:8] == b"\x02\0\0\0"
    for at in (4, 8, 16, 24, 32, 40):
        for number in (len(good), len(good) + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 1):
            width = 4 if at == 4 else 8
            broken = good[:at] + (number % 2 ** (8 * width)).to_bytes(width, "little") + good[at + width :]
            try:
                first, second = codec.decode_in_place(broken)
            except (ValueError, TypeError, pickle.UnpicklingError):
                continue
            assert at == 4 and number % 2**32 == 2 or at in (16, 32), "moved within the value at most"


def test_fewer_buffers_than_the_pickle_wants(codec):
    data = codec.encode([np.arange(1000)])
    size = int.from_bytes(data[8:16], "little")
    broken = b"\x08\0\0\0" + bytes(4) + data[8:16] + data[32 : 32 + size]
    with pytest.raises(pickle.UnpicklingError):
        codec.decode(broken)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff\xff", b"\x01\x00", b"\x06\xff", b"\x08" * 16])
def test_bytes_that_are_no_value(codec, data):
    with pytest.raises(ValueError):
        codec.decode(data)


def test_impossible_shapes(codec):
    header = b"\x09\x0b\x02C\0\0\0\0"
    for extents in ((2**63, 1), (2**32, 2**32), (2**61, 8), (1, 2**64 - 1), (0, 2**63)):
        shape = b"".join(extent.to_bytes(8, "little") for extent in extents)
        with pytest.raises(ValueError):
            codec.decode_in_place(header + shape + bytes(40))


def test_a_ref_list_asks_for_no_more_memory_than_there_are_bytes(codec):
    with pytest.raises(ValueError, match="cut short"):
        codec.decode(b"\x0a\xff\xff\xff\xff" + bytes(20))


def test_damaged_pickles(child_environment):
    program = """
import random, resource
import numpy as np
import narke_value_test as codec
resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
rng = random.Random(7)
value = {"a": [1, 2.5, "text", None, (True, b"bytes")], "set": {1, 2}, "array": np.arange(100), 5: 1 << 99}
good = codec.encode(value)
raised = 0
for _ in range(20_000):
    broken = bytearray(good)
    for _ in range(rng.randint(1, 4)):
        broken[rng.randrange(1, len(broken))] = rng.randrange(256)
    try:
        codec.decode_in_place(bytes(broken))
    except Exception:
        raised += 1
assert raised > 5_000, raised
"""
    subprocess.run([sys.executable, "-c", program], env=child_environment, check=True, timeout=100)
