"""Tasks: calling, returning, failing, nesting."""

import os
import sys
import threading

import numpy as np
import pytest
import ray
from ray.exceptions import (
    RayError,
    RayTaskError,
    WorkerCrashedError,
)
from waiting import mark, marks, wait_for

pytestmark = pytest.mark.usefixtures("cluster")

OFFSET = 100


@ray.remote
def identity(value):
    return value


@ray.remote
def add(left, right=10, *rest, scale=1, **named):
    return (left + right + sum(rest)) * scale + sum(named.values())


@ray.remote
def fail(error):
    raise error


class TestArguments:
    @pytest.mark.parametrize(
        "args, kwargs, result",
        [
            ((1,), {}, 11),
            ((1, 2), {}, 3),
            ((1,), {"right": 5}, 6),
            ((), {"left": 1}, 11),
            ((1, 2, 3, 4), {"scale": 2}, 20),
            ((1, 2), {"other": 7, "more": 1}, 11),
        ],
    )
    def test_positional_keyword_and_default(self, args, kwargs, result):
        assert ray.get(add.remote(*args, **kwargs)) == result

    def test_keyword_only(self):
        @ray.remote
        def only(*, key):
            return key

        assert ray.get(only.remote(key=1)) == 1
        with pytest.raises(TypeError):
            only.remote(1)

    @pytest.mark.parametrize(
        "args, kwargs, text",
        [
            ((), {}, "missing a required argument: 'value'"),
            ((1, 2), {}, "too many positional arguments"),
            ((), {"value": 1, "other": 2}, "unexpected keyword argument 'other'"),
            ((1,), {"value": 1}, "multiple values for argument 'value'"),
        ],
    )
    def test_mismatch_is_found_when_called(self, args, kwargs, text):
        with pytest.raises(TypeError, match=text):
            identity.remote(*args, **kwargs)

    def test_references_at_top_level_are_resolved(self):
        assert ray.get(add.remote(ray.put(1), right=ray.put(2), other=identity.remote(3))) == 6

    def test_nested_references_stay_references(self):
        @ray.remote
        def kinds(held):
            return [type(each).__name__ for each in held["refs"]], ray.get(held["refs"])

        names, values = ray.get(kinds.remote({"refs": [ray.put(1), identity.remote(2)]}))
        assert names == ["ObjectRef", "ObjectRef"]
        assert values == [1, 2]

    def test_large_arguments_by_value(self):
        array = np.random.default_rng(1).random(1_250_000)
        text = "x" * 10_000_000
        back, length = ray.get([identity.remote(array), add.remote(0, right=0, scale=0, n=len(text))])
        np.testing.assert_array_equal(back, array)
        assert length == len(text)

    def test_many_arguments(self):
        refs = [ray.put(i) for i in range(500)]
        assert ray.get(add.remote(0, 0, *refs)) == sum(range(500))

    def test_functions_as_arguments(self):
        @ray.remote
        def call(function, value):
            return function(value)

        assert ray.get(call.remote(lambda value: value + OFFSET, 1)) == 101

    def test_remote_function_as_argument(self):
        @ray.remote
        def call(function):
            return ray.get(function.remote(4))

        assert ray.get(call.remote(identity)) == 4


class TestDefinition:
    def test_direct_call_is_refused(self):
        with pytest.raises(
            TypeError, match=r"Remote functions cannot be called directly.*identity\.remote\(\)"
        ):
            identity(1)

    def test_lambda_and_plain_call_of_remote(self):
        assert ray.get(ray.remote(lambda value: value * 2).remote(4)) == 8
        assert ray.get(ray.remote(num_cpus=2)(lambda: 5).remote()) == 5

    def test_closure_and_globals(self):
        local = 7

        @ray.remote
        def closes():
            return local + OFFSET

        assert ray.get(closes.remote()) == 107

    def test_definition_is_taken_at_first_call(self):
        value = [1]

        @ray.remote
        def read():
            return value[0]

        assert ray.get(read.remote()) == 1
        value[0] = 2
        assert ray.get(read.remote()) == 1

    def test_options_override_for_one_call_only(self):
        @ray.remote(num_cpus=1)
        def assigned():
            return ray.get_runtime_context().get_assigned_resources()

        changed = assigned.options(num_cpus=2, resources={"custom": 1})
        assert ray.get(changed.remote()) == {"CPU": 2.0, "custom": 1.0}
        assert ray.get(assigned.remote()) == {"CPU": 1.0}

    @pytest.mark.parametrize("wrong", [1, "text", None])
    def test_only_functions_and_classes_become_remote(self, wrong):
        with pytest.raises((TypeError, AssertionError)):
            ray.remote(wrong)

    def test_changed_globals_stay_in_the_worker(self):
        @ray.remote
        def change():
            global OFFSET
            OFFSET += 1
            return OFFSET, os.getpid()

        value, process = ray.get(change.remote())
        assert value > 100 and process != os.getpid()
        assert OFFSET == 100


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"num_cpu": 2}, ValueError, "num_cpu"),
        ({"num_cpus": -1}, ValueError, "num_cpus"),
        ({"num_cpus": "1"}, TypeError, "num_cpus"),
        ({"num_gpus": 1.5}, ValueError, "GPU"),
        ({"memory": -1}, ValueError, "memory"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"resources": {"part": -1}}, ValueError, "part"),
        ({"num_returns": -1}, ValueError, "num_returns"),
        ({"max_retries": -2}, ValueError, "max_retries"),
        ({"max_calls": 1}, ValueError, "max_calls"),
        ({"retry_exceptions": "all"}, TypeError, "retry_exceptions"),
        ({"name": 1}, TypeError, "name"),
        ({"scheduling_strategy": "NOWHERE"}, ValueError, "scheduling_strategy.*NOWHERE"),
    ],
    ids=str,
)
def test_bad_option_is_refused_by_name(options, error, text):
    with pytest.raises(error, match=text):
        identity.options(**options).remote(1)


class TestReturns:
    @pytest.mark.parametrize("count", [2, 3, 50])
    def test_several(self, count):
        refs = ray.remote(num_returns=count)(lambda: list(range(count))).remote()
        assert len(refs) == count
        assert ray.get(refs) == list(range(count))

    def test_one_list_is_one_value(self):
        assert ray.get(identity.options(num_returns=1).remote([1, 2])) == [1, 2]

    def test_none(self, tmp_path):
        @ray.remote(num_returns=0)
        def silent():
            mark(tmp_path)

        assert silent.remote() is None
        wait_for(lambda: marks(tmp_path), what="the task's file")

    @pytest.mark.parametrize("given", [[1], [1, 2, 3]], ids=str)
    def test_mismatch(self, given):
        refs = identity.options(num_returns=2).remote(given)
        for ref in refs:
            with pytest.raises(ValueError, match=f"returned {len(given)} objects.*num_returns=2"):
                ray.get(ref)

    def test_several_of_a_generator(self):
        @ray.remote(num_returns=3)
        def produce():
            yield from range(3)

        assert ray.get(produce.remote()) == [0, 1, 2]

    def test_references_come_back_as_references(self):
        @ray.remote
        def submit():
            return identity.remote(5)

        inner = ray.get(submit.remote())
        assert isinstance(inner, ray.ObjectRef)
        assert ray.get(inner) == 5


class Failure(Exception):
    pass


class Detailed(Exception):
    def __init__(self, code, note):
        super().__init__(code, note)
        self.code, self.note = code, note


class Unpicklable(Exception):
    def __init__(self):
        super().__init__("holds a lock")
        self.lock = threading.Lock()


class TestFailure:
    def test_derives_from_the_users_type(self):
        with pytest.raises(Failure, match="went wrong") as caught:
            ray.get(fail.remote(Failure("went wrong")))
        assert isinstance(caught.value, RayTaskError)
        assert isinstance(caught.value, RayError)
        assert type(caught.value.cause) is Failure
        assert caught.value.cause.args == ("went wrong",)

    def test_text_holds_the_remote_traceback(self):
        with pytest.raises(ValueError) as caught:
            ray.get(fail.remote(ValueError("boom")))
        text = str(caught.value)
        assert "fail()" in text and "pid=" in text
        assert "test_tasks.py" in text and "raise error" in text
        assert text.rstrip().endswith("ValueError: boom")

    @pytest.mark.parametrize("error", [ValueError, KeyError, StopIteration, OSError, AssertionError, Failure])
    def test_types(self, error):
        with pytest.raises(error) as caught:
            ray.get(fail.remote(error("x")))
        assert type(caught.value) is not error

    def test_custom_constructor_and_attributes(self):
        with pytest.raises(Detailed) as caught:
            ray.get(fail.remote(Detailed(7, "seven")))
        assert caught.value.cause.code == 7
        assert caught.value.code == 7

    def test_unpicklable_exception_still_says_what_happened(self):
        @ray.remote
        def fail_unpicklable():
            raise Unpicklable

        with pytest.raises(RayTaskError, match="holds a lock"):
            ray.get(fail_unpicklable.remote())

    def test_chained_exceptions_are_both_shown(self):
        @ray.remote
        def chain():
            try:
                1 / 0  # noqa: B018
            except ZeroDivisionError as error:
                raise ValueError("outer") from error

        with pytest.raises(ValueError, match="(?s)ZeroDivisionError.*direct cause.*outer"):
            ray.get(chain.remote())

    def test_failure_travels_down_a_chain(self):
        ref = fail.remote(Failure("first"))
        for _ in range(5):
            ref = identity.remote(ref)
        with pytest.raises(Failure, match="first") as caught:
            ray.get(ref)
        assert type(caught.value.cause) is Failure

    def test_dependent_task_does_not_run(self, tmp_path):
        @ray.remote
        def leave_mark(value):
            mark(tmp_path)

        with pytest.raises(Failure):
            ray.get(leave_mark.remote(fail.remote(Failure())))
        assert not marks(tmp_path)

    def test_one_failure_in_a_list(self):
        with pytest.raises(Failure):
            ray.get([ray.put(1), fail.remote(Failure()), ray.put(2)])

    def test_nested_failure_can_be_caught_inside(self):
        @ray.remote
        def catch():
            try:
                ray.get(fail.remote(Failure("inner")))
            except Failure as error:
                return str(error.cause)

        assert ray.get(catch.remote()) == "inner"

    def test_nested_failure_passes_through(self):
        @ray.remote
        def passes():
            return ray.get(fail.remote(Failure("inner")))

        with pytest.raises(Failure, match="inner"):
            ray.get(passes.remote())

    @pytest.mark.parametrize("leave", [lambda: os._exit(3), lambda: sys.exit(4)], ids=["_exit", "sys.exit"])
    def test_dead_worker(self, leave):
        with pytest.raises(WorkerCrashedError):
            ray.get(ray.remote(max_retries=0)(leave).remote())

    def test_life_goes_on_after_a_dead_worker(self):
        refs = [ray.remote(max_retries=0)(lambda: os._exit(1)).remote()] + [
            identity.remote(i) for i in range(5)
        ]
        with pytest.raises(WorkerCrashedError):
            ray.get(refs[0])
        assert ray.get([identity.remote(i) for i in range(10)]) == list(range(10))


class TestNesting:
    def test_deeper_than_the_cpus(self):
        @ray.remote
        def depth(level):
            return 0 if level == 0 else 1 + ray.get(depth.remote(level - 1))

        assert ray.get(depth.remote(12)) == 12

    def test_wider_than_the_cpus(self):
        @ray.remote
        def fan(width):
            return sum(ray.get([identity.remote(1) for _ in range(width)]))

        assert ray.get([fan.remote(8) for _ in range(8)]) == [8] * 8

    def test_fibonacci(self):
        @ray.remote
        def fibonacci(n):
            return n if n < 2 else sum(ray.get([fibonacci.remote(n - 1), fibonacci.remote(n - 2)]))

        assert ray.get(fibonacci.remote(6)) == 8

    def test_chain_of_a_hundred(self):
        ref = ray.put(0)
        for _ in range(100):
            ref = add.remote(ref, 1)
        assert ray.get(ref) == 100

    def test_tree(self):
        refs = [identity.remote(i) for i in range(64)]
        while len(refs) > 1:
            refs = [add.remote(*pair) for pair in zip(refs[::2], refs[1::2], strict=True)]
        assert ray.get(refs[0]) == sum(range(64))


def test_many_tasks():
    assert ray.get([identity.remote(i) for i in range(1000)]) == list(range(1000))


def test_submitting_from_threads():
    results = {}

    def work(name):
        results[name] = ray.get([add.remote(name, i) for i in range(20)])

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert results == {name: [name + i for i in range(20)] for name in range(4)}
