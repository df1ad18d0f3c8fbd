"""Objects: what can be stored, how it comes back, and what a reference is."""

import asyncio
import dataclasses
import datetime
import decimal
import enum
import pathlib
import pickle
import threading
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray
from waiting import hold, wait_for

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
        (lambda: ray.put(Locked(1)), r"(?s)Could not serialize the put value.*lock"),
        (lambda: identity.remote(Locked(1)), r"(?s)Could not serialize the argument.*identity.*lock"),
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

    with pytest.raises(TypeError, match=r"(?s)Could not serialize the function.*uses_lock.*lock"):
        uses_lock.remote()


def test_unpicklable_result_fails_the_task():
    @ray.remote
    def returns_lock():
        return threading.Lock()

    with pytest.raises(TypeError, match="cannot pickle"):
        ray.get(returns_lock.remote())


class TestPutAndGetArguments:
    def test_put_of_a_reference(self):
        with pytest.raises(TypeError, match="Calling 'put' on an ray.ObjectRef is not allowed"):
            ray.put(ray.put(1))

    def test_get_of_a_list_keeps_order_and_duplicates(self):
        one, two = ray.put(1), ray.put(2)
        assert ray.get([two, one, two]) == [2, 1, 2]

    def test_get_of_nothing(self):
        assert ray.get([]) == []

    @pytest.mark.parametrize("wrong", [1, "abc", None, (), {"a": 1}, {1}], ids=repr)
    def test_get_of_the_wrong_type(self, wrong):
        with pytest.raises(ValueError, match=f"Invalid type of object refs.*{type(wrong).__name__}"):
            ray.get(wrong)

    @pytest.mark.parametrize("wrong", [1, "abc", None])
    def test_get_of_a_list_with_a_wrong_type(self, wrong):
        with pytest.raises(TypeError, match="not an ray.ObjectRef"):
            ray.get([ray.put(1), wrong])

    @pytest.mark.parametrize("timeout", [0, 0.1])
    def test_get_times_out(self, tmp_path, timeout):
        gate = tmp_path / "gate"

        @ray.remote
        def blocked():
            hold(gate)
            return "opened"

        ref = blocked.remote()
        with pytest.raises(ray.exceptions.GetTimeoutError):
            ray.get(ref, timeout=timeout)
        with pytest.raises(TimeoutError):
            ray.get([ray.put(1), ref], timeout=timeout)
        gate.touch()
        assert ray.get(ref, timeout=60) == "opened"

    def test_get_of_what_is_there_ignores_the_timeout(self):
        assert ray.get(ray.put(1), timeout=0) == 1


class TestWait:
    def test_splits_into_ready_and_rest(self, tmp_path):
        gate = tmp_path / "gate"

        @ray.remote
        def blocked():
            hold(gate)

        slow, fast = blocked.remote(), ray.put(1)
        assert ray.wait([slow, fast]) == ([fast], [slow])
        assert ray.wait([slow, fast], num_returns=2, timeout=0) == ([fast], [slow])
        gate.touch()
        assert ray.wait([slow, fast], num_returns=2, timeout=60) == ([slow, fast], [])

    def test_returns_at_most_num_returns_in_order_given(self):
        refs = [ray.put(i) for i in range(6)]
        ready, rest = ray.wait(refs, num_returns=4)
        assert len(ready) == 4
        assert ready == [ref for ref in refs if ref in ready]
        assert rest == [ref for ref in refs if ref not in ready]
        assert ray.wait(refs, num_returns=6) == (refs, [])

    def test_timeout_zero_does_not_wait(self, tmp_path):
        @ray.remote
        def blocked():
            hold(tmp_path / "gate")

        ref = blocked.remote()
        assert ray.wait([ref], timeout=0) == ([], [ref])
        (tmp_path / "gate").touch()

    def test_failed_task_counts_as_ready(self):
        @ray.remote
        def fail():
            raise ValueError

        ref = fail.remote()
        assert ray.wait([ref], timeout=60) == ([ref], [])

    def test_nothing_to_wait_for(self):
        assert ray.wait([]) == ([], [])

    def test_many(self):
        refs = [identity.remote(i) for i in range(300)]
        pending, seen = refs, []
        while pending:
            ready, pending = ray.wait(pending, num_returns=min(7, len(pending)))
            seen += ready
        assert sorted(ray.get(seen)) == list(range(300))

    @pytest.mark.parametrize(
        "arguments, options, error, text",
        [
            (lambda ref: [ref, ref], {}, ValueError, "unique"),
            (lambda ref: [ref], {"num_returns": 0}, ValueError, "Invalid number of objects to return 0"),
            (lambda ref: [ref], {"num_returns": 2}, ValueError, "num_returns cannot be greater"),
            (lambda ref: [ref], {"timeout": -1}, ValueError, "timeout.*nonnegative.*-1"),
            (lambda ref: ref, {}, TypeError, "expected a list of ray.ObjectRef"),
            (lambda ref: (ref,), {}, TypeError, "expected a list of ray.ObjectRef.*tuple"),
            (lambda ref: [ref, 1], {}, TypeError, "list containing <class 'int'>"),
            (lambda ref: "abc", {}, TypeError, "got <class 'str'>"),
        ],
        ids=["twice", "zero", "too many", "negative", "one ref", "tuple", "number", "text"],
    )
    def test_wrong_arguments(self, arguments, options, error, text):
        with pytest.raises(error, match=text):
            ray.wait(arguments(ray.put(1)), **options)


class TestReference:
    def test_repr_hex_and_binary(self):
        ref = ray.put(1)
        assert len(ref.binary()) == 28
        assert ref.hex() == ref.binary().hex()
        assert repr(ref) == str(ref) == f"ObjectRef({ref.hex()})"

    def test_equality_and_hash(self):
        ref, other = ray.put(1), ray.put(1)
        twin = ray.ObjectRef(ref.binary())
        assert ref == twin and hash(ref) == hash(twin)
        assert ref != other and ref != 1
        assert {ref: "a", other: "b"}[twin] == "a"

    def test_ids_inside(self):
        ref = identity.remote(1)
        assert ref.job_id().hex() == ray.get_runtime_context().get_job_id()
        assert ref.task_id().hex() == ref.hex()[: len(ref.task_id().hex())]
        assert not ref.is_nil()
        assert ray.ObjectRef.nil().is_nil()

    @pytest.mark.parametrize(
        "operation", [iter, len, lambda ref: ref + 1, lambda ref: ref < ref, lambda ref: ref()]
    )
    def test_is_not_its_value(self, operation):
        with pytest.raises(TypeError):
            operation(ray.put([1]))

    def test_has_no_made_up_attributes(self):
        with pytest.raises(AttributeError):
            ray.put(1).no_such_attribute  # noqa: B018

    def test_pickles_outside_of_ray(self):
        ref = ray.put("value")
        assert pickle.loads(pickle.dumps(ref)) == ref
        assert ray.get(ray.cloudpickle.loads(ray.cloudpickle.dumps(ref))) == "value"

    def test_future(self):
        assert ray.put(3).future().result(timeout=60) == 3

    def test_future_of_a_failure(self):
        @ray.remote
        def fail():
            raise KeyError("gone")

        with pytest.raises(KeyError, match="gone"):
            fail.remote().future().result(timeout=60)

    def test_await(self):
        @ray.remote
        def fail():
            raise KeyError("gone")

        async def main():
            assert await ray.put(1) == 1
            assert await asyncio.gather(*[identity.remote(i) for i in range(20)]) == list(range(20))
            assert await asyncio.wait_for(identity.remote("soon"), timeout=60) == "soon"
            done, pending = await asyncio.wait([asyncio.wrap_future(identity.remote(2).future())], timeout=60)
            assert not pending and done.pop().result() == 2
            with pytest.raises(KeyError, match="gone"):
                await fail.remote()

        asyncio.run(main())


@ray.remote(num_cpus=0)
class Keeper:
    def keep(self, held):
        self.held = held

    def read(self):
        held = self.held
        if isinstance(held, Point):
            held = held.tags
        elif isinstance(held, dict):
            held = list(held.values())
        return ray.get(held[0]).sum()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda ref: [ref],
        lambda ref: {"key": ref},
        lambda ref: Point(1, [ref]),
        lambda ref: [[ref]][0],
    ],
    ids=["list", "dict", "dataclass", "nested"],
)
def test_actor_keeps_what_the_driver_drops(wrap):
    keeper = Keeper.remote()
    ref = ray.put(np.ones(500_000))
    ray.get(keeper.keep.remote(wrap(ref)))
    del ref
    for _ in range(10):
        ray.put(np.zeros(500_000))
    assert ray.get(keeper.read.remote()) == 500_000


def test_reference_inside_an_object_lives_with_it():
    outer = ray.put([ray.put(np.ones(300_000))])
    (inner,) = ray.get(outer)
    assert isinstance(inner, ray.ObjectRef)
    del outer
    assert ray.get(inner).sum() == 300_000


def test_reference_returned_by_a_task_outlives_its_worker():
    @ray.remote(max_calls=1)
    def make():
        return [identity.remote(np.ones(300_000))]

    (inner,) = ray.get(make.remote())
    assert ray.get(inner).sum() == 300_000


def test_reference_as_key_and_in_closure():
    ref = ray.put(5)
    assert ray.get(ray.get(ray.put({ref: "name"})).popitem()[0]) == 5

    @ray.remote
    def closes_over():
        return ray.get(ref)

    assert ray.get(closes_over.remote()) == 5


def test_dropping_references_frees_memory():
    total = ray.cluster_resources()["object_store_memory"]
    size = 50_000_000
    refs = [ray.put(np.zeros(size, dtype=np.uint8)) for _ in range(4)]
    wait_for(
        lambda: ray.available_resources()["object_store_memory"] <= total - 4 * size, what="200 MB in use"
    )
    refs.clear()
    wait_for(lambda: ray.available_resources()["object_store_memory"] > total - size, what="200 MB freed")
