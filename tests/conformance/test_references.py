"""References: getting, waiting, passing on, dropping."""

import asyncio
import dataclasses
import pickle

import numpy as np
import pytest
import ray
from waiting import hold, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@dataclasses.dataclass
class Point:
    x: int
    tags: list = dataclasses.field(default_factory=list)


@ray.remote
def identity(value):
    return value


class TestPutAndGetArguments:
    def test_put_of_a_reference(self):
        with pytest.raises(TypeError, match="Calling 'put' on an .*ObjectRef is not allowed"):
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
        with pytest.raises(TypeError, match="not an .*ObjectRef"):
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
            (lambda ref: [ref], {"num_returns": 0}, ValueError, "Invalid number of objects to return"),
            (lambda ref: [ref], {"num_returns": 2}, ValueError, "num_returns cannot be greater"),
            (lambda ref: [ref], {"timeout": -1}, ValueError, "timeout.*-1"),
            (lambda ref: ref, {}, TypeError, "expected a list of .*ObjectRef"),
            (lambda ref: (ref,), {}, TypeError, "expected a list of .*ObjectRef.*tuple"),
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


class TestRebuiltFromTheId:
    def test_from_hex_and_binary_give_the_value(self):
        ref = ray.put({"a": 1})
        assert ray.get(ray.ObjectRef.from_hex(ref.hex())) == {"a": 1}
        assert ray.get(type(ref).from_binary(ref.binary())) == {"a": 1}

    def test_malformed_ids_are_refused(self):
        with pytest.raises(ValueError):
            ray.ObjectRef.from_hex("ab")
        with pytest.raises(ValueError):
            ray.ObjectRef.from_binary(b"short")

    def test_size_is_known_without_a_reference(self):
        assert ray.ObjectRef.size() == 28

    def test_as_future_is_awaitable(self):
        import asyncio

        @ray.remote
        def answer():
            return 42

        async def main():
            return await answer.remote().as_future()

        assert asyncio.run(main()) == 42
