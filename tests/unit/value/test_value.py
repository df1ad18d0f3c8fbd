"""Values through the codec come back as they would through pickle."""

import collections
import dataclasses
import datetime
import decimal
import enum
import math
import pickle
import random
import subprocess
import sys
import threading

import pytest

DEPTH = 4


class Colour(enum.Enum):
    RED = 1


class Weekday(enum.IntEnum):
    MONDAY = 1


@dataclasses.dataclass
class Point:
    x: int
    y: object


Pair = collections.namedtuple("Pair", "left right")


class Number(int):
    pass


class Text(str):
    pass


class Items(list):
    pass


def same(left, right):
    """Equal, of the same types all the way down, and nan is nan."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        return repr(left) == repr(right)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, Point):
        return same(vars(left), vars(right))
    return left == right


def random_atom(rng):
    return rng.choice(
        [
            lambda: None,
            lambda: rng.random() < 0.5,
            lambda: rng.randint(-3, 300),
            lambda: rng.choice([1, -1]) * 2 ** rng.choice([31, 32, 62, 63, 64, 200]) + rng.randint(-1, 1),
            lambda: rng.choice([0.0, -0.0, math.inf, -math.inf, math.nan, 1e-310, rng.random()]),
            lambda: "".join(rng.choice("ab\x00é€😀\ud800") for _ in range(rng.randint(0, 9))),
            lambda: "x" * rng.choice([254, 255, 256, 4095, 4096, 70_000]),
            lambda: rng.randbytes(rng.choice([0, 1, 14, 15, 16, 4095, 4096, 70_000])),
            lambda: bytearray(rng.randbytes(rng.randint(0, 5))),
            lambda: complex(rng.random(), -0.0),
            lambda: frozenset(range(rng.randint(0, 4))),
            lambda: datetime.datetime(2020, 1, 2, 3, 4, 5, rng.randint(0, 9), tzinfo=datetime.timezone.utc),
            lambda: datetime.timedelta(seconds=rng.random()),
            lambda: decimal.Decimal("1.50"),
            lambda: Colour.RED,
            lambda: Weekday.MONDAY,
            lambda: Number(7),
            lambda: Text("text"),
        ]
    )()


def random_value(rng, depth=DEPTH):
    if depth == 0 or rng.random() < 0.3:
        return random_atom(rng)
    parts = [random_value(rng, depth - 1) for _ in range(rng.randint(0, 5))]
    return rng.choice(
        [
            lambda: parts,
            lambda: tuple(parts),
            lambda: dict(enumerate(parts)),
            lambda: {f"key {i}": part for i, part in enumerate(parts)},
            lambda: {rng.randint(0, 99) for _ in parts},
            lambda: Items(parts),
            lambda: collections.OrderedDict(enumerate(parts)),
            lambda: Point(1, parts),
            lambda: Pair(parts, None),
        ]
    )()


@pytest.mark.parametrize("seed", range(200))
def test_random_values_come_back(codec, seed):
    value = random_value(random.Random(seed))
    data = codec.encode(value)
    assert codec.measure(value)[0] == len(data)
    expected = pickle.loads(pickle.dumps(value, 5))
    assert same(codec.decode(data), expected)
    assert same(codec.decode_in_place(data), expected)


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 1 << 10_000])
def test_ints_of_every_size(codec, number):
    assert codec.decode(codec.encode(number)) == number


def test_small_values_take_few_bytes(codec):
    sizes = {value: len(codec.encode(value)) for value in (None, True, 5, 0.5, "abc", b"abcd")}
    assert sizes == {None: 1, True: 1, 5: 9, 0.5: 9, "abc": 4, b"abcd": 5}


def test_shared_and_cyclic_values_keep_their_shape(codec):
    shared = [1]
    both = codec.decode(codec.encode([shared, shared]))
    assert both[0] is both[1]
    cycle = {}
    cycle["self"] = [cycle]
    back = codec.decode(codec.encode(cycle))
    assert back["self"][0] is back


def test_values_that_share_their_parts_many_times_are_scanned_in_bounded_time(codec):
    value = []
    for _ in range(60):
        value = [value, value]  # 2**60 paths
    assert len(codec.encode(value)) < 10_000


def test_deep_values(codec):
    value = []
    for _ in range(200):
        value = [value]
    assert same(codec.decode(codec.encode(value)), value)
    for _ in range(1_000_000):
        value = (value,)
    with pytest.raises((TypeError, RecursionError)):
        codec.encode(value)
    while value:
        value = value[0]  # freed level by level


def test_functions_and_closures(codec):
    factor = 3
    assert codec.decode(codec.encode(lambda x: x * factor))(2) == 6

    def countdown(n):
        return [n, *countdown(n - 1)] if n else []

    assert codec.decode(codec.encode([countdown]))[0](3) == [3, 2, 1]


def test_classes_of_a_program_travel_by_value(child_environment, tmp_path):
    """One process defines everything in its __main__; another, which lacks the definitions, reads it."""
    writer = """
import collections, dataclasses, enum, sys
import narke_value_test as codec
class Kind(enum.Enum):
    A = 1
@dataclasses.dataclass
class Point:
    x: int
Pair = collections.namedtuple("Pair", "left right")
class Number(int):
    def twice(self): return self * 2
class Bag(dict):
    pass
def fact(n): return n * fact(n - 1) if n else 1
class Oops(ValueError):
    pass
value = {"kind": Kind.A, "point": Point(3), "pair": Pair(1, [2]), "number": Number(4), "bag": Bag(a=1),
         "fact": fact, "type": Point, "oops": Oops("no"), Number(9): "key"}
for name, encoded in ("value", codec.encode(value)), ("error", codec.encode_error(Oops("bad"))):
    with open(f"{sys.argv[1]}/{name}", "wb") as file:
        file.write(encoded)
"""
    reader = """
import sys
import narke_value_test as codec
value = codec.decode(open(sys.argv[1] + "/value", "rb").read())
assert value["kind"].name == "A" and value["point"].x == 3 and value["pair"].right == [2]
assert value["number"].twice() == 8 and type(value["bag"]).__name__ == "Bag" and value["fact"](5) == 120
assert value["type"](1).x == 1 and type(value["point"]) is value["type"]
assert type(value["oops"]).__mro__[1] is ValueError and value[9] == "key"
error = open(sys.argv[1] + "/error", "rb").read()
assert codec.is_error(error) and str(codec.decode(error)) == "bad"
"""
    for program in (writer, reader):
        subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], env=child_environment, check=True, timeout=60
        )


def test_exceptions_are_values_unless_encoded_as_errors(codec):
    error = KeyError("gone")
    error.__cause__ = ValueError("why")
    value, raised = codec.encode(error), codec.encode_error(error)
    assert not codec.is_error(value) and codec.is_error(raised)
    for data in (value, raised, codec.pickled_error(pickle.dumps(error))):
        assert repr(codec.decode(data)) == "KeyError('gone')"


def test_engine_errors_become_exceptions(codec):
    data = codec.engine_error("WorkerCrashedError", "The worker died: é.", "ab" * 12)
    assert codec.is_error(data)
    error = codec.decode(data)
    assert isinstance(error, Exception)
    assert type(error).__name__ == "WorkerCrashedError" and "The worker died: é." in str(error)


@pytest.mark.parametrize("value", [threading.Lock(), [1, {"a": (x for x in ())}]])
def test_what_does_not_pickle_says_so(codec, value):
    with pytest.raises(TypeError, match="Could not serialize") as failure:
        codec.encode(value)
    assert isinstance(failure.value.__cause__, TypeError)


def test_memoryviews_come_back_as_bytes_as_in_cloudpickle(codec):
    assert codec.decode(codec.encode([memoryview(b"abc")])) == [b"abc"]


def test_interrupts_while_pickling_pass_through(codec):
    class Stop:
        def __reduce__(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        codec.encode([Stop()])


def refs_of(codec, count):
    return [codec.make_ref(b"%028d" % i, b"owner %d" % (i // 3)) for i in range(count)]


@pytest.mark.parametrize("shape", [list, tuple, lambda refs: {"refs": refs}, lambda refs: [*refs, None]])
def test_contained_refs_are_noted(codec, shape):
    refs = refs_of(codec, 10)
    value = shape(refs)
    assert codec.decode(codec.encode(value)) == value
    assert codec.measure(value)[2] == refs


def test_refs_in_values_for_cloudpickle_are_noted(codec):
    refs = refs_of(codec, 2)
    data, contained = codec.encode([refs, Point]), codec.measure([refs, Point])[2]
    assert codec.decode(data)[0] == refs and contained == refs


def test_refs_are_released(codec):
    ref = codec.make_ref(b"i" * 28, b"owner")
    before = sys.getrefcount(ref)
    for value in ([ref], [ref, 1], {"a": ref, "b": Point}):
        codec.encode(value)
        codec.drop_without_gil(value)
    with pytest.raises(TypeError):
        codec.encode([ref, threading.Lock()])
    del value
    assert sys.getrefcount(ref) == before


def test_refs_do_not_pickle_outside_of_values(codec):
    with pytest.raises(TypeError, match="outside"):
        pickle.dumps(codec.make_ref(b"i", b"o"))


def test_encoding_inside_of_encoding(codec):
    outer, inner = refs_of(codec, 2)
    met = []

    class Stores:
        def __reduce__(self):
            met.append(codec.measure([inner, None])[2])
            return str, ("stored",)

    value = [Stores(), outer]
    assert codec.measure(value)[2] == [outer] and met == [[inner]]


def test_each_thread_has_its_own_encoding(codec):
    refs = refs_of(codec, 2)
    entered, left = threading.Event(), threading.Event()

    class Waits:
        def __reduce__(self):
            entered.set()
            assert left.wait(30)
            return str, ("done",)

    seen = []
    thread = threading.Thread(target=lambda: seen.append(codec.measure([Waits(), refs[0]])[2]))
    thread.start()
    assert entered.wait(30)
    seen.append(codec.measure([refs[1], None])[2])
    left.set()
    thread.join(30)
    assert seen == [[refs[1]], [refs[0]]]


def test_a_type_with_a_serializer_leaves_the_fast_path(codec):
    def declared(kind):
        return {"date": datetime.date(2020, 1, 1), "kind": kind}

    codec.value_needs_reducer(datetime.date)
    codec.value_is_plain(datetime.date)  # what needs a reducer keeps needing it
    assert codec.decode(codec.encode(declared("x"))) == declared("x")
    with pytest.raises(TypeError, match="A type is needed"):
        codec.value_needs_reducer("date")


def test_time_zones_of_the_program(codec):
    class Zone(datetime.tzinfo):
        def utcoffset(self, when):
            return datetime.timedelta(hours=1)

    moment = datetime.datetime(2020, 1, 1, tzinfo=Zone())
    assert codec.decode(codec.encode(moment)).utcoffset() == datetime.timedelta(hours=1)
