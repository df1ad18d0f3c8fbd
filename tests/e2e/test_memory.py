"""A full store, lost objects, dead owners, and sheer numbers."""

import os
import pathlib
import re
import signal

import numpy as np
import pytest
from waiting import hold, mark, marks, wait_for

import narke
from narke.exceptions import (
    ObjectLostError,
    OwnerDiedError,
    RayActorError,
)


def report_pid(folder):
    (pathlib.Path(folder) / f"pid-{os.getpid()}").touch()


def reported_pid(folder):
    """The process id that the latest `report_pid` left in `folder`."""
    return wait_for(
        lambda: next(
            (int(path.name.removeprefix("pid-")) for path in pathlib.Path(folder).glob("pid-*")), None
        ),
        what="a worker's report",
    )


@narke.remote(max_retries=0)
def report_and_hold(folder):
    report_pid(folder)
    hold(pathlib.Path(folder) / "gate")
    return "through"


@narke.remote
def identity(value):
    return value


@narke.remote(num_cpus=0)
class Keeper:
    def make(self, size):
        self.ref = narke.put(np.ones(size))
        return [self.ref]

    def pid(self):
        return os.getpid()


class TestStoreFull:
    SPILL = """
import numpy as np, pathlib, narke
context = narke.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000)
session = pathlib.Path(context.address_info["session_dir"])
arrays = [np.random.default_rng(i).integers(0, 2**62, 1_250_000) for i in range(40)]
refs = [narke.put(array) for array in arrays]
print("stored", len(refs))
print("spilled", bool(list(session.rglob("*.spill"))))
equal = sum(bool(np.array_equal(narke.get(ref), array)) for ref, array in zip(refs, arrays))
print("equal", equal)
total = narke.remote(lambda array: int(array[:1000].sum()))
sums = narke.get([total.remote(ref) for ref in refs])
print("sums", sum(one == int(array[:1000].sum()) for one, array in zip(sums, arrays)))
"""

    def test_spilled_objects_come_back_equal(self, start):
        driver = start(self.SPILL)
        assert driver.said("stored", timeout_s=60) == "40"
        assert driver.said("spilled") == "True"
        assert driver.said("equal", timeout_s=60) == "40"
        assert driver.said("sums", timeout_s=60) == "40"
        assert driver.ended() == 0
        driver.leaves_nothing()

    def test_an_object_larger_than_the_store(self, start):
        driver = start("""
import numpy as np, narke
narke.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
try:
    narke.put(np.zeros(50_000_000))
except narke.exceptions.ObjectStoreFullError as error:
    print("raised", str(error).replace(chr(10), " "))
""")
        assert re.search("381|400", driver.said("raised", timeout_s=60))  # MiB or MB

    def test_pinned_objects_that_do_not_fit(self, start):
        driver = start("""
import numpy as np, narke
narke.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=100_000_000)
held = []
try:
    for _ in range(20):
        held.append(narke.get(narke.put(np.zeros(1_250_000))))
except narke.exceptions.ObjectStoreFullError:
    print("held", len(held))
held.clear()
print("again", int(narke.get(narke.put(np.ones(1_250_000))).sum()))
""")
        assert 5 <= int(driver.said("held", timeout_s=100)) < 10
        assert driver.said("again") == "1250000"


@pytest.mark.usefixtures("cluster")
class TestLostObjects:
    def test_is_made_again_by_its_task(self, tmp_path):
        from narke._private.testing import drop_object

        @narke.remote
        def make():
            mark(tmp_path)
            return np.ones(500_000)

        ref = make.remote()
        assert narke.wait([ref], timeout=30) == ([ref], [])
        drop_object(ref)
        assert narke.get(ref, timeout=30).sum() == 500_000
        assert len(marks(tmp_path)) == 2

    def test_is_made_again_with_what_it_needs(self, tmp_path):
        from narke._private.testing import drop_object

        @narke.remote
        def grow(array):
            mark(tmp_path)
            return array + 1

        refs = [narke.put(np.zeros(500_000))]
        for _ in range(3):
            refs.append(grow.remote(refs[-1]))
        assert narke.wait(refs[-1:], timeout=30) == (refs[-1:], [])
        for ref in refs[1:]:
            drop_object(ref)
        assert narke.get(refs[-1], timeout=30)[0] == 3
        assert len(marks(tmp_path)) == 6

    def test_what_was_put_cannot_be_made_again(self):
        from narke._private.testing import drop_object

        ref = narke.put(np.ones(500_000))
        drop_object(ref)
        with pytest.raises(ObjectLostError, match=ref.hex()):
            narke.get(ref, timeout=30)

    def test_without_retries_it_is_lost(self):
        from narke._private.testing import drop_object

        ref = narke.remote(max_retries=0)(lambda: np.ones(500_000)).remote()
        assert narke.wait([ref], timeout=30) == ([ref], [])
        drop_object(ref)
        with pytest.raises(ObjectLostError, match=ref.hex()):
            narke.get(ref, timeout=30)

    @pytest.mark.parametrize("size", [10, 500_000])
    def test_owner_died(self, size):
        keeper = Keeper.remote()
        (ref,) = narke.get(keeper.make.remote(size))
        os.kill(narke.get(keeper.pid.remote()), signal.SIGKILL)
        with pytest.raises(RayActorError):
            for _ in range(100):
                narke.get(keeper.pid.remote(), timeout=20)
        with pytest.raises(OwnerDiedError, match=ref.hex()):
            narke.get(ref, timeout=20)

    def test_owner_dies_during_get(self, tmp_path):
        @narke.remote(num_cpus=0)
        class Owner:
            def submit(self):
                self.ref = report_and_hold.remote(tmp_path)
                return [self.ref], os.getpid()

        owner = Owner.remote()
        (ref,), pid = narke.get(owner.submit.remote())
        reported_pid(tmp_path)
        future = ref.future()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(OwnerDiedError):
            future.result(timeout=20)


@pytest.mark.usefixtures("cluster")
class TestScale:
    def test_recursion(self):
        @narke.remote
        def depth(level):
            return 0 if level == 0 else 1 + narke.get(depth.remote(level - 1))

        assert narke.get(depth.remote(60), timeout=100) == 60

    def test_many_small_tasks(self):
        refs = [identity.remote(i) for i in range(20_000)]
        assert narke.get(refs, timeout=100) == list(range(20_000))

    def test_many_actors(self):
        keepers = [Keeper.remote() for _ in range(40)]
        assert len(set(narke.get([keeper.pid.remote() for keeper in keepers], timeout=100))) == 40
