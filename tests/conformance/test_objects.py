"""Objects: what can be stored, and how it comes back."""

import dataclasses
import datetime
import decimal
import enum
import pathlib
import threading
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray

pytestmark = pytest.mark.usefixtures("cluster")


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Point:
    x: int
    tags: list = dataclasses.field(default_factory=list)


class Reduced:
    """Travels by its own __reduce__, which forgets `secret`."""

    def __init__(self, kept):
        self.kept = kept
        self.secret = "not sent"

    def __reduce__(self):
        return _make_reduced, (self.kept,)


def _make_reduced(kept):
    made = Reduced(kept)
    made.secret = "rebuilt"
    return made


PLAIN = [
    None,
    True,
    0,
    -1,
    2**63,
    -(2**200),
    1.5,
    float("inf"),
    1 + 2j,
    "",
    "text",
    "ÅÄÖ 漢字 🐟",
    "nul\0inside",
    b"",
    b"bytes",
    bytes(300_000),
    [],
    [1, [2, [3]]],
    (),
    (1, (2,)),
    {},
    {"a": {1: None}},
    {1, 2},
    frozenset("ab"),
    range(5),
    slice(1, 2),
    Ellipsis,
    Colour.RED,
    decimal.Decimal("1.10"),
    uuid.UUID(int=5),
    pathlib.PurePosixPath("/a/b"),
    datetime.datetime(2020, 1, 2, 3, 4, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=1),
    Point(1, ["a"]),
    int,
    len,
    NotImplemented,
    "x" * 200_000,
    list(range(50_000)),
]


@ray.remote
def identity(value):
    return value


@pytest.mark.parametrize("value", PLAIN, ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!a}")
def test_put_get_gives_an_equal_value(value):
    back = ray.get(ray.put(value))
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [PLAIN, {"all": PLAIN}], ids=["list", "dict"])
def test_all_sorts_through_a_task(value):
    assert ray.get(identity.remote(value)) == value


def test_nan_stays_nan():
    assert np.isnan(ray.get(ray.put(float("nan"))))


def test_put_is_a_snapshot():
    value = [1]
    ref = ray.put(value)
    value.append(2)
    assert ray.get(ref) == [1]


def test_get_gives_a_fresh_value_each_time():
    ref = ray.put([1])
    ray.get(ref).append(2)
    assert ray.get(ref) == [1]


def test_shared_and_cyclic_structure_is_kept():
    inner = [1]
    outer = [inner, inner]
    outer.append(outer)
    back = ray.get(ray.put(outer))
    assert back[0] is back[1]
    assert back[2] is back


@pytest.mark.parametrize(
    "dtype", ["bool", "int8", "uint16", "int64", "float16", "float32", "float64", "complex64", "complex128"]
)
@pytest.mark.parametrize("shape", [(), (0,), (3,), (200, 300), (2, 3, 4)], ids=str)
def test_numpy(dtype, shape):
    array = np.ones(shape, dtype=dtype)
    back = ray.get(ray.put(array))
    assert back.dtype == array.dtype and back.shape == array.shape
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize(
    "array",
    [
        np.array(["a", None, 3], dtype=object),
        np.array([(1, 2.5)], dtype=[("i", "i4"), ("f", "f8")]),
        np.array(["one", "three"]),
        np.array(["2020-01-01"], dtype="datetime64[D]"),
        np.arange(100_000).reshape(1000, 100)[:, ::3],
        np.arange(100_000)[::-1],
        np.asfortranarray(np.arange(60_000).reshape(200, 300)),
        np.arange(40_000, dtype=">i4"),
        np.broadcast_to(np.arange(3), (1000, 3)),
        np.ma.masked_array([1, 2], mask=[0, 1]),
        np.float32(1.5),
        np.int64(7),
    ],
    ids=[
        "object",
        "structured",
        "text",
        "dates",
        "strided",
        "reversed",
        "fortran",
        "swapped",
        "broadcast",
        "masked",
        "float32",
        "int64",
    ],
)
def test_numpy_of_unusual_layout(array):
    back = ray.get(ray.put(array))
    assert type(back) is type(array)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_large_arrays_are_read_only_and_share_memory():
    ref = ray.put({"array": np.arange(1_000_000)})
    one, two = ray.get(ref)["array"], ray.get(ref)["array"]
    assert not one.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        one[0] = 1
    assert one.__array_interface__["data"][0] == two.__array_interface__["data"][0]


def test_array_outlives_its_reference():
    array = ray.get(ray.put(np.arange(1_000_000)))
    for _ in range(20):
        ray.put(np.zeros(1_000_000))
    assert array.sum() == 499_999_500_000


def test_array_argument_is_read_only_in_a_task():
    @ray.remote
    def is_writeable(array):
        return array.flags.writeable

    assert ray.get(is_writeable.remote(ray.put(np.zeros(1_000_000)))) is False


def test_copy_of_an_array_can_be_written():
    array = ray.get(ray.put(np.zeros(1_000_000))).copy()
    array[0] = 1
    assert array.sum() == 1


def test_pandas():
    frame = pd.DataFrame(
        {
            "number": np.arange(50_000),
            "text": [str(i) for i in range(50_000)],
            "date": pd.date_range("2020-01-01", periods=50_000, freq="min"),
            "kind": pd.Categorical(["a", "b"] * 25_000),
        }
    ).set_index("number")
    pd.testing.assert_frame_equal(ray.get(ray.put(frame)), frame)
    pd.testing.assert_series_equal(ray.get(identity.remote(frame["text"])), frame["text"])


@pytest.mark.parametrize("rows", [0, 3, 200_000])
def test_arrow(rows):
    table = pa.table(
        {"n": list(range(rows)), "t": [str(i) for i in range(rows)], "l": [[i] for i in range(rows)]}
    )
    assert ray.get(ray.put(table)).equals(table)
    part = table.slice(rows // 2, 1)
    assert ray.get(identity.remote(part)).equals(part)


def test_functions_lambdas_and_local_classes():
    base = 10

    class Local:
        def __init__(self, n):
            self.n = n

        def __eq__(self, other):
            return self.n == other.n

    assert ray.get(ray.put(lambda n: n + base))(5) == 15
    assert ray.get(ray.put(Local))(3).n == 3
    assert ray.get(ray.put(Local(4))).n == 4


def test_classes_of_main(program):
    ended = program("""
import ray
from dataclasses import dataclass

@dataclass
class Mine:
    n: int

class Failure(Exception):
    pass

@ray.remote
def double(mine):
    assert type(mine).__module__ == "__main__"
    return Mine(mine.n * 2)

@ray.remote
def fail():
    raise Failure("mine")

ray.init(address="local", num_cpus=1, include_dashboard=False)
assert ray.get(double.remote(Mine(3))) == Mine(6)
try:
    ray.get(fail.remote())
except Failure as failure:
    print("caught", isinstance(failure, ray.exceptions.RayTaskError))
""")
    assert ended.returncode == 0, ended.stderr
    assert "caught True" in ended.stdout


def test_an_exception_is_a_value_like_others():
    back = ray.get(ray.put(ValueError("stored", 3)))
    assert type(back) is ValueError and back.args == ("stored", 3)


def test_reduce_is_used():
    back = ray.get(identity.remote(Reduced(5)))
    assert (back.kept, back.secret) == (5, "rebuilt")


@ray.remote
def number_of(lockeds):
    return lockeds[0].number


class Locked:
    def __init__(self, number):
        self.number = number
        self.lock = threading.Lock()


def test_register_serializer():
    with pytest.raises(TypeError):
        ray.put(Locked(1))
    ray.util.register_serializer(Locked, serializer=lambda it: it.number, deserializer=Locked)
    try:
        assert ray.get(ray.put(Locked(5))).number == 5
        assert ray.get(number_of.remote([Locked(6)])) == 6
    finally:
        ray.util.deregister_serializer(Locked)
    with pytest.raises(TypeError):
        ray.put(Locked(1))


@pytest.mark.parametrize(
    "send, text",
    [
        (lambda: ray.put(Locked(1)), r"(?s)Could not serialize.*Locked.*lock"),
        (lambda: identity.remote(Locked(1)), r"(?s)Could not serialize.*Locked.*lock"),
    ],
    ids=["put", "argument"],
)
def test_unpicklable_value_is_named(send, text):
    with pytest.raises(TypeError, match=text):
        send()


def test_unpicklable_closure_is_named():
    lock = threading.Lock()

    @ray.remote
    def uses_lock():
        return lock

    with pytest.raises(TypeError, match=r"(?s)Could not serialize.*uses_lock.*lock"):
        uses_lock.remote()


def test_unpicklable_result_fails_the_task():
    @ray.remote
    def returns_lock():
        return threading.Lock()

    with pytest.raises(TypeError, match="cannot pickle"):
        ray.get(returns_lock.remote())


class TestArrowSlices:
    """A slice costs its own bytes, however large the array it was cut from."""

    TABLE = pa.table({"n": range(200_000), "t": [f"text {i}" for i in range(200_000)]})

    @pytest.mark.parametrize(
        "part",
        [
            TABLE.slice(1000, 500),
            TABLE.to_batches()[0].slice(7, 100),
            TABLE.column("t").slice(150_000, 30),
            TABLE.column("n").chunk(0).slice(3, 9),
            TABLE.slice(10, 0),
            pa.array([[1, 2], None, [3]] * 50_000).slice(5, 4),
            pa.array(["a", "b", None] * 50_000).dictionary_encode().slice(99, 5),
            pa.array([True, False, None] * 50_000).slice(13, 21),
        ],
        ids=["table", "batch", "chunked", "array", "empty", "list", "dictionary", "bool"],
    )
    def test_slices_come_back_and_cost_little(self, part):
        back = ray.get(ray.put(part))
        assert type(back) is type(part) and back.equals(part)
        assert back.get_total_buffer_size() <= 100_000

    def test_schema_metadata_stays(self):
        table = self.TABLE.replace_schema_metadata({"origin": "here"}).slice(5, 10)
        assert ray.get(ray.put(table)).schema.metadata == {b"origin": b"here"}
