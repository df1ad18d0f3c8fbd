"""Tasks: retrying, cancelling, and the resources they hold."""

import os
import sys
import time

import pytest
import ray
from ray.exceptions import (
    GetTimeoutError,
    TaskCancelledError,
    TaskUnschedulableError,
    WorkerCrashedError,
)
from waiting import hold, is_running, mark, marks, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@ray.remote
def identity(value):
    return value


class Failure(Exception):
    pass


class TestRetries:
    @pytest.mark.parametrize("retries, tries", [(0, 1), (2, 3)])
    def test_crash(self, tmp_path, retries, tries):
        @ray.remote(max_retries=retries)
        def crash():
            mark(tmp_path)
            os._exit(1)

        with pytest.raises(WorkerCrashedError):
            ray.get(crash.remote())
        assert len(marks(tmp_path)) == tries

    def test_crash_then_success(self, tmp_path):
        @ray.remote(max_retries=3)
        def crash_twice():
            if mark(tmp_path) < 3:
                os._exit(1)
            return "done"

        assert ray.get(crash_twice.remote()) == "done"
        assert len(marks(tmp_path)) == 3

    @pytest.mark.parametrize(
        "which, tries",
        [(False, 1), (True, 3), ([Failure], 3), ([KeyError], 1), ([KeyError, Failure], 3), ([Exception], 3)],
        ids=str,
    )
    def test_exceptions(self, tmp_path, which, tries):
        @ray.remote(max_retries=2, retry_exceptions=which)
        def raises():
            mark(tmp_path)
            raise Failure("again")

        with pytest.raises(Failure, match="again"):
            ray.get(raises.remote())
        assert len(marks(tmp_path)) == tries

    def test_exception_then_success(self, tmp_path):
        @ray.remote(max_retries=-1, retry_exceptions=True)
        def raise_four_times():
            if mark(tmp_path) < 5:
                raise Failure
            return "done"

        assert ray.get(raise_four_times.remote()) == "done"

    def test_max_calls_gives_a_fresh_worker(self):
        @ray.remote(max_calls=1)
        def process_id():
            return os.getpid()

        pids = [ray.get(process_id.remote()) for _ in range(3)]
        assert len(set(pids)) == 3
        wait_for(lambda: not any(map(is_running, pids)), what="the end of used workers")


@ray.remote(max_retries=0)
def sleep_in_steps(folder):
    mark(folder)
    for _ in range(3000):
        time.sleep(0.02)
    return "slept"


class TestCancel:
    @pytest.mark.parametrize("force", [False, True])
    def test_running(self, tmp_path, force):
        ref = sleep_in_steps.remote(tmp_path)
        wait_for(lambda: marks(tmp_path), what="the task's start")
        ray.cancel(ref, force=force)
        with pytest.raises((TaskCancelledError, WorkerCrashedError)):
            ray.get(ref, timeout=30)

    def test_an_import_ends_before_its_task_is_interrupted(self, tmp_path):
        """Broken off, it would leave a package behind that cannot be imported again (as `import asyncio` was)."""
        package = tmp_path / "slowly_loaded"
        package.mkdir()
        (package / "part.py").write_text("value = 41\n")
        (package / "__init__.py").write_text(
            "import pathlib, time\n"
            "from . import part as _part\n"
            "here = pathlib.Path(__file__).parent\n"
            "(here / 'began').touch()\n"
            "while not (here / 'go').exists():\n"
            "    time.sleep(0.01)\n"
            "value = part.value + 1\n"
            "(here / 'ended').touch()\n"
        )

        @ray.remote(num_cpus=4, max_retries=0)
        def load(then):
            sys.path.insert(0, str(tmp_path))
            import slowly_loaded

            while then == "stay":
                time.sleep(0.01)
            return slowly_loaded.value

        ref = load.remote("stay")
        wait_for((package / "began").exists, what="the import's start")
        ray.cancel(ref)
        assert ray.wait([ref], timeout=0.3) == ([], [ref])
        (package / "go").touch()
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=30)
        assert (package / "ended").exists()
        assert ray.get(load.remote("leave"), timeout=30) == 42

    def test_pending(self, tmp_path):
        @ray.remote(num_cpus=4)
        def occupy():
            hold(tmp_path / "gate")

        running = occupy.remote()
        pending = identity.remote(1)
        ray.cancel(pending)
        with pytest.raises(TaskCancelledError):
            ray.get(pending, timeout=30)
        (tmp_path / "gate").touch()
        assert ray.get(running) is None

    def test_waiting_for_an_argument(self, tmp_path):
        @ray.remote
        def blocked():
            hold(tmp_path / "gate")

        dependent = identity.remote(blocked.remote())
        ray.cancel(dependent)
        with pytest.raises(TaskCancelledError):
            ray.get(dependent, timeout=30)
        (tmp_path / "gate").touch()

    def test_finished(self):
        ref = identity.remote(1)
        ray.get(ref)
        ray.cancel(ref)
        assert ray.get(ref) == 1

    def test_is_not_retried(self, tmp_path):
        ref = sleep_in_steps.options(max_retries=3).remote(tmp_path)
        wait_for(lambda: marks(tmp_path), what="the task's start")
        ray.cancel(ref, force=True)
        with pytest.raises(TaskCancelledError):
            ray.get(ref, timeout=30)
        assert len(marks(tmp_path)) == 1

    @pytest.mark.parametrize("recursive", [True, False])
    def test_children(self, tmp_path, recursive):
        @ray.remote(max_retries=0)
        def parent():
            return ray.get(child.remote())

        @ray.remote(max_retries=0)
        def child():
            mark(tmp_path, "started")
            hold(tmp_path / "gate")
            mark(tmp_path, "finished")

        ref = parent.remote()
        wait_for(lambda: marks(tmp_path, "started"), what="the child's start")
        ray.cancel(ref, recursive=recursive)
        with pytest.raises((TaskCancelledError, WorkerCrashedError)):
            ray.get(ref, timeout=30)
        if recursive:
            wait_for(lambda: ray.available_resources().get("CPU") == 4.0, what="the child's end")
        (tmp_path / "gate").touch()
        if not recursive:
            wait_for(lambda: marks(tmp_path, "finished"), what="the child's own end")
        assert bool(marks(tmp_path, "finished")) is not recursive

    def test_only_references(self):
        with pytest.raises(TypeError, match="only supported for object refs"):
            ray.cancel(1)


@ray.remote(num_gpus=1)
def gpus():
    return ray.get_gpu_ids(), os.environ.get("CUDA_VISIBLE_DEVICES")


class TestResources:
    @pytest.mark.parametrize("amount, count", [(1, 1), (2, 2), (0.5, 1)])
    def test_gpus_are_made_visible(self, amount, count):
        ids, visible = ray.get(gpus.options(num_gpus=amount).remote())
        assert len(ids) == count
        assert visible == ",".join(map(str, ids))

    def test_without_gpus(self):
        assert ray.get(gpus.options(num_gpus=0).remote())[0] == []

    def test_two_holders_get_two_gpus(self, tmp_path):
        @ray.remote(num_gpus=1)
        def held():
            mark(tmp_path, str(ray.get_gpu_ids()[0]))
            hold(tmp_path / "gate")
            return ray.get_gpu_ids()[0]

        refs = [held.remote(), held.remote()]
        wait_for(lambda: marks(tmp_path, "0") and marks(tmp_path, "1"), what="both holders")
        (tmp_path / "gate").touch()
        assert sorted(ray.get(refs)) == [0, 1]

    @pytest.mark.parametrize(
        "options", [{"num_cpus": 2}, {"resources": {"custom": 2}}, {"num_gpus": 1}], ids=str
    )
    def test_no_more_run_than_fit(self, tmp_path, options):
        @ray.remote(num_cpus=0)
        def run(number):
            (tmp_path / f"in-{number}").touch()
            wait_for(
                lambda: len(list(tmp_path.glob("in-*"))) >= 2 or (tmp_path / "alone").exists(), what="a pair"
            )
            now = len(list(tmp_path.glob("in-*")))
            (tmp_path / f"in-{number}").unlink()
            (tmp_path / "alone").touch()
            return now

        assert max(ray.get([run.options(**{"num_cpus": 0, **options}).remote(i) for i in range(6)])) == 2

    def test_fractions_share(self, tmp_path):
        @ray.remote(num_cpus=0, resources={"custom": 0.5})
        def together():
            mark(tmp_path, f"in-{os.getpid()}")
            wait_for(lambda: len(list(tmp_path.glob("in-*"))) == 4, what="four tasks at once")
            return True

        assert all(ray.get([together.remote() for _ in range(4)]))

    def test_infeasible_waits(self):
        ref = identity.options(resources={"absent": 1}).remote(1)
        with pytest.raises(GetTimeoutError):
            ray.get(ref, timeout=1)
        ray.cancel(ref)
        with pytest.raises((TaskCancelledError, TaskUnschedulableError)):
            ray.get(ref, timeout=30)

    def test_blocked_task_lends_its_cpu(self):
        @ray.remote(num_cpus=4)
        def outer():
            return ray.get(identity.options(num_cpus=4).remote("inner"))

        assert ray.get(outer.remote(), timeout=60) == "inner"

    def test_runtime_env_variables(self):
        @ray.remote(runtime_env={"env_vars": {"CONFORMANCE_VARIABLE": "set"}})
        def read():
            return os.environ.get("CONFORMANCE_VARIABLE")

        assert ray.get(read.remote()) == "set"
        assert ray.get(ray.remote(lambda: os.environ.get("CONFORMANCE_VARIABLE")).remote()) is None
