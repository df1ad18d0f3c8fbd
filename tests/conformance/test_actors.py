"""Actors: state, order, calls, and handles that travel."""

import os
import pickle

import numpy as np
import pytest
import ray
from waiting import wait_for

pytestmark = pytest.mark.usefixtures("cluster")


class Base:
    def inherited(self):
        return f"base of {self.name}"

    def overridden(self):
        return "base"


@ray.remote(num_cpus=0)
class Counter(Base):
    """Counts."""

    kind = "counter"

    def __init__(self, start=0, *, name="nameless"):
        self.count, self.name = start, name

    def add(self, amount=1):
        self.count += amount
        return self.count

    def overridden(self):
        return super().overridden() + " and counter"

    @staticmethod
    def fixed(value):
        return value

    @classmethod
    def of_class(cls):
        return cls.kind

    @property
    def doubled(self):
        return 2 * self.count

    def read_doubled(self):
        return self.doubled

    def pid(self):
        return os.getpid()

    def identity(self, value):
        return value

    @ray.method(num_returns=2)
    def pair(self):
        return 1, 2

    def __len__(self):
        return self.count


@ray.remote
def add_through(handle, amount):
    return ray.get(handle.add.remote(amount))


class TestCalls:
    def test_state_and_order(self):
        counter = Counter.remote()
        assert ray.get([counter.add.remote() for _ in range(200)]) == list(range(1, 201))

    def test_constructor_arguments(self):
        counter = Counter.remote(5, name="named")
        assert ray.get(counter.add.remote()) == 6
        assert ray.get(counter.inherited.remote()) == "base of named"

    def test_constructor_argument_is_a_reference(self):
        assert ray.get(Counter.remote(ray.put(41)).add.remote()) == 42

    def test_method_argument_is_a_reference(self):
        counter = Counter.remote()
        ref = counter.add.remote(3)
        assert ray.get(counter.add.remote(ref)) == 6
        assert isinstance(ray.get(counter.identity.remote([ref]))[0], ray.ObjectRef)

    def test_keyword_arguments(self):
        assert ray.get(Counter.remote(start=1).add.remote(amount=2)) == 3

    def test_inheritance_static_class_and_property(self):
        counter = Counter.remote(4)
        assert ray.get(counter.overridden.remote()) == "base and counter"
        assert ray.get(counter.fixed.remote(9)) == 9
        assert ray.get(counter.of_class.remote()) == "counter"
        assert ray.get(counter.read_doubled.remote()) == 8
        assert ray.get(counter.__len__.remote()) == 4

    def test_several_returns(self):
        counter = Counter.remote()
        assert ray.get(list(counter.pair.remote())) == [1, 2]
        assert ray.get(counter.identity.options(num_returns=3).remote("abc")) == ["a", "b", "c"]
        assert counter.add.options(num_returns=0).remote() is None
        assert ray.get(counter.add.remote()) == 2

    def test_call_name(self):
        @ray.remote(num_cpus=0)
        class Named:
            def task_name(self):
                return ray.get_runtime_context().get_task_name()

        actor = Named.remote()
        assert ray.get(actor.task_name.remote()) == "Named.task_name"
        assert ray.get(actor.task_name.options(name="renamed").remote()) == "renamed"

    def test_large_values(self):
        array = np.arange(1_000_000)
        np.testing.assert_array_equal(ray.get(Counter.remote().identity.remote(array)), array)

    def test_generator_method_streams(self):
        @ray.remote(num_cpus=0)
        class Producer:
            def produce(self, limit):
                for i in range(limit):  # noqa: UP028  # see test_better.py for `yield from`
                    yield i

        stream = Producer.remote().produce.remote(4)
        assert isinstance(stream, ray.ObjectRefGenerator)
        assert ray.get(list(stream)) == [0, 1, 2, 3]

    def test_subclass_of_a_plain_class_with_remote(self):
        Remote = ray.remote(num_cpus=0)(type("Plain", (Base,), {"name": "plain"}))
        assert ray.get(Remote.remote().inherited.remote()) == "base of plain"

    @pytest.mark.parametrize(
        "call, error, text",
        [
            (
                lambda counter: Counter(),
                TypeError,
                r"Actors cannot be instantiated directly.*Counter\.remote\(\)",
            ),
            (
                lambda counter: counter.add(),
                TypeError,
                r"Actor methods cannot be called directly.*add\.remote\(\)",
            ),
            (lambda counter: counter.unknown, AttributeError, "unknown"),
            (lambda counter: counter.count, AttributeError, "count"),
            (lambda counter: counter.add.remote(1, 2), TypeError, "too many positional arguments"),
            (lambda counter: counter.add.remote(by=1), TypeError, "unexpected keyword argument 'by'"),
            (lambda counter: counter.identity.remote(), TypeError, "missing a required argument: 'value'"),
            (lambda counter: Counter.remote(1, 2), TypeError, "too many positional arguments"),
        ],
        ids=["class", "method", "unknown", "attribute", "extra", "keyword", "missing", "constructor"],
    )
    def test_wrong_use(self, call, error, text):
        with pytest.raises(error, match=text):
            call(Counter.remote())

    @pytest.mark.parametrize(
        "options, error, text",
        [
            ({"num_cpu": 1}, ValueError, "num_cpu"),
            ({"num_cpus": -1}, ValueError, "num_cpus"),
            ({"max_restarts": -2}, ValueError, "max_restarts"),
            ({"max_task_retries": -2}, ValueError, "max_task_retries"),
            ({"max_concurrency": -1}, ValueError, "max_concurrency"),
            ({"lifetime": "forever"}, ValueError, "lifetime"),
            ({"name": ""}, ValueError, "name"),
            ({"name": 1}, TypeError, "name"),
            ({"get_if_exists": True}, ValueError, "name must be specified"),
        ],
        ids=str,
    )
    def test_bad_option_is_refused_by_name(self, options, error, text):
        with pytest.raises(error, match=text):
            Counter.options(**options).remote()

    def test_resources_are_held_for_life(self):
        counter = Counter.options(num_cpus=2, resources={"custom": 1}).remote()
        ray.get(counter.add.remote())
        wait_for(lambda: ray.available_resources().get("CPU") == 2.0, what="2 CPUs in use")
        ray.kill(counter)
        wait_for(lambda: ray.available_resources().get("CPU") == 4.0, what="2 CPUs returned")

    def test_gpus(self):
        @ray.remote(num_gpus=1, num_cpus=0)
        class Holder:
            def gpus(self):
                return ray.get_gpu_ids(), os.environ["CUDA_VISIBLE_DEVICES"]

        holders = [Holder.remote(), Holder.remote()]
        assert sorted(ray.get([holder.gpus.remote() for holder in holders])) == [([0], "0"), ([1], "1")]


class TestHandles:
    def test_repr_equality_and_hash(self):
        counter, other = Counter.remote(), Counter.remote()
        assert repr(counter).startswith("Actor(Counter, ")
        assert counter == counter and counter != other
        (back,) = ray.get([counter.identity.remote([counter])])[0]
        assert back == counter and hash(back) == hash(counter)
        assert len({counter, back, other}) == 2

    def test_passed_to_tasks_and_actors(self):
        counter = Counter.remote()
        assert ray.get(add_through.remote(counter, 5)) == 5

        @ray.remote(num_cpus=0)
        class Holder:
            def __init__(self, held):
                self.held = held

            def add(self, amount):
                return ray.get(self.held["inside"][0].add.remote(amount))

        holder = Holder.remote({"inside": [counter]})
        assert ray.get(add_through.remote(holder, 2)) == 7

    def test_stored_and_captured(self):
        counter = Counter.remote()
        stored = ray.get(ray.put({"handle": counter}))["handle"]
        assert ray.get(stored.add.remote()) == 1

        @ray.remote
        def captures():
            return ray.get(counter.add.remote())

        assert ray.get(captures.remote()) == 2

    def test_returned_by_a_task(self):
        @ray.remote
        def make():
            return Counter.remote(10)

        assert ray.get(ray.get(make.remote()).add.remote()) == 11

    def test_actor_creates_actor(self):
        @ray.remote(num_cpus=0)
        class Parent:
            def __init__(self):
                self.child = Counter.remote(1)

            def child_add(self):
                return ray.get(self.child.add.remote())

            def give_child(self):
                return self.child

        parent = Parent.remote()
        assert ray.get(parent.child_add.remote()) == 2
        assert ray.get(ray.get(parent.give_child.remote()).add.remote()) == 3

    def test_own_handle(self):
        @ray.remote(num_cpus=0)
        class Selfish:
            def value(self):
                return 5

            def own(self):
                return ray.get_runtime_context().current_actor

        actor = Selfish.remote()
        own = ray.get(actor.own.remote())
        assert own == actor and ray.get(own.value.remote()) == 5

    def test_pickles_outside_of_ray(self):
        counter = Counter.remote()
        back = pickle.loads(pickle.dumps(counter))
        assert back == counter and ray.get(back.add.remote()) == 1
