"""Where Ray's own behaviour is a defect that its users suffer from: what is promised here instead.

Skipped on the real Ray; each reason says what Ray does.
"""

import os
import time

import engine
import pytest
import ray
from ray.util.placement_group import placement_group
from waiting import mark, marks, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


def ray_defect(what):
    return pytest.mark.skipif(engine.IS_RAY, reason=f"Ray: {what}")


@ray.remote
def identity(value):
    return value


@ray_defect("top-level bytearray and memoryview come back as bytes")
@pytest.mark.parametrize("size", [5, 500_000])
def test_bytearray_stays_a_bytearray(size):
    back = ray.get(ray.put(bytearray(size)))
    assert type(back) is bytearray and len(back) == size
    back[0] = 1


@ray_defect("a remote function has its wrapper's documentation and module, and no __name__")
def test_remote_function_keeps_name_and_documentation():
    @ray.remote
    def documented():
        """Says so."""

    assert documented.__doc__ == "Says so."
    assert documented.__name__ == "documented"
    assert documented.__module__ == __name__


@ray_defect("an exception that needs several arguments and passes none on becomes UnserializableException")
def test_exception_with_an_own_constructor_keeps_its_type():
    class Formatted(Exception):
        def __init__(self, code, note):
            super().__init__(f"{note} ({code})")
            self.code = code

    @ray.remote
    def fail():
        raise Formatted(7, "seven")

    with pytest.raises(Formatted, match=r"seven \(7\)") as caught:
        ray.get(fail.remote())
    assert caught.value.code == 7


@ray_defect("cancel does not end a blocking system call")
def test_cancel_wakes_a_sleeping_task(tmp_path):
    @ray.remote(max_retries=0)
    def sleep():
        mark(tmp_path)
        time.sleep(600)

    ref = sleep.remote()
    wait_for(lambda: marks(tmp_path), what="the task's start")
    ray.cancel(ref)
    with pytest.raises(ray.exceptions.TaskCancelledError):
        ray.get(ref, timeout=10)


@ray_defect("a generator method that delegates with `yield from` to an iterator fails with AttributeError")
def test_generator_method_may_delegate():
    @ray.remote(num_cpus=0)
    class Producer:
        def produce(self, limit):
            yield from range(limit)

    assert ray.get(list(Producer.remote().produce.remote(3))) == [0, 1, 2]


@ray_defect("a bundle with a negative amount is accepted")
def test_negative_bundle_is_refused():
    with pytest.raises(ValueError, match="CPU"):
        placement_group([{"CPU": -1}])


@ray_defect("errors such as 'cannot convert float NaN to integer' do not name the option")
@pytest.mark.parametrize(
    "options, text",
    [
        ({"num_cpus": float("nan")}, "num_cpus|CPU"),
        ({"num_gpus": float("nan")}, "num_gpus|GPU"),
        ({"num_cpus": float("inf")}, "num_cpus|CPU"),
        ({"memory": float("nan")}, "memory"),
        ({"resources": {"part": float("nan")}}, "part"),
        ({"num_returns": "many"}, "num_returns"),
    ],
    ids=str,
)
def test_bad_amount_is_refused_by_name(options, text):
    with pytest.raises((ValueError, TypeError), match=text):
        identity.options(**options).remote(1)


@ray_defect("timeouts of the wrong type end in OverflowError or a comparison's TypeError")
@pytest.mark.parametrize(
    "call", [ray.get, lambda ref, timeout: ray.wait([ref], timeout=timeout)], ids=["get", "wait"]
)
@pytest.mark.parametrize("timeout", ["1", float("nan"), [1]], ids=repr)
def test_bad_timeout_is_refused_by_name(call, timeout):
    with pytest.raises((ValueError, TypeError), match="timeout"):
        call(ray.put(1), timeout=timeout)


@ray_defect("a call's result can be lost when the actor dies right after it")
def test_result_sent_before_a_crash_is_kept():
    @ray.remote(num_cpus=0)
    class Crasher:
        def value(self):
            return "kept"

        def crash(self):
            os._exit(1)

    for _ in range(5):
        crasher = Crasher.remote()
        kept, lost = crasher.value.remote(), crasher.crash.remote()
        assert ray.get(kept, timeout=30) == "kept"
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(lost, timeout=30)


@ray_defect("the get of an infeasible task hangs without a word to the program")
def test_infeasible_task_warns(program):
    ended = program("""
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False)
ref = ray.remote(resources={"absent": 1})(lambda: 1).remote()
ray.wait([ref], timeout=5)
""")
    assert "absent" in ended.stderr
