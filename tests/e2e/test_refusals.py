"""What cannot work is said at once."""

import pytest

import narke


@narke.remote
def identity(value):
    return value


@narke.remote
class Idle:
    pass


NAN = float("nan")


@pytest.mark.parametrize(
    "options, name",
    [
        ({"num_cpus": -1}, "num_cpus"),
        ({"num_cpus": NAN}, "num_cpus"),
        ({"num_cpus": float("inf")}, "num_cpus"),
        ({"num_cpus": "1"}, "num_cpus"),
        ({"num_gpus": -0.5}, "num_gpus"),
        ({"num_gpus": NAN}, "num_gpus"),
        ({"memory": -1}, "memory"),
        ({"memory": NAN}, "memory"),
        ({"resources": {"part": NAN}}, "part"),
        ({"resources": {"part": -1}}, "part"),
        ({"resources": {"part": "1"}}, "part"),
        ({"resources": {1: 1}}, "resources"),
        ({"resources": [1]}, "resources"),
        ({"max_retries": -2}, "max_retries"),
        ({"max_retries": 1.5}, "max_retries"),
        ({"num_returns": -1}, "num_returns"),
        ({"num_returns": "many"}, "num_returns"),
        ({"retry_exceptions": 5}, "retry_exceptions"),
        ({"retry_exceptions": [5]}, "retry_exceptions"),
        ({"runtime_env": 5}, "runtime_env"),
        ({"scheduling_strategy": 5}, "scheduling_strategy"),
        ({"label_selector": 5}, "label_selector"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
    ids=str,
)
def test_bad_task_option_is_refused_at_once(cluster, options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        identity.options(**options).remote(1)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"num_cpus": NAN}, "num_cpus"),
        ({"max_restarts": -2}, "max_restarts"),
        ({"max_restarts": NAN}, "max_restarts"),
        ({"max_task_retries": "1"}, "max_task_retries"),
        ({"max_concurrency": -1}, "max_concurrency"),
        ({"max_concurrency": 1.5}, "max_concurrency"),
        ({"max_pending_calls": -2}, "max_pending_calls"),
        ({"lifetime": "forever"}, "lifetime"),
        ({"name": ""}, "name"),
        ({"namespace": 5}, "namespace"),
        ({"concurrency_groups": 5}, "concurrency_groups"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
    ids=str,
)
def test_bad_actor_option_is_refused_at_once(cluster, options, name):
    with pytest.raises((ValueError, TypeError), match=name):
        Idle.options(**options).remote()


class TestInfeasible:
    def test_warns_once_and_is_listed(self, start):
        driver = start("""
import narke
from narke.util.state import list_tasks
narke.init(address="local", num_cpus=1, include_dashboard=False)

@narke.remote(resources={"absent": 1})
def impossible():
    pass

refs = [impossible.remote() for _ in range(3)]
print("ready", len(narke.wait(refs, timeout=3)[0]))
print("states", sorted({task.state for task in list_tasks() if task.name == "impossible"}))
""")
        assert driver.said("ready") == "0"
        assert "PENDING" in driver.said("states")
        driver.ended()
        warnings = [line for line in driver.errors.splitlines() if "absent" in line]
        assert len(warnings) == 1
        driver.leaves_nothing()
