import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [str(ROOT / "python"), str(ROOT), str(ROOT / "tests" / "e2e"), str(ROOT / "tests" / "conformance")]
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]
os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)

if os.environ.get("NARKE_TEST_ENGINE") == "ray":
    collect_ignore_glob = ["test_*.py"]  # these look at Narke's own processes


@pytest.fixture
def start(tmp_path):
    """Start a program as a `driving.Driver`; whatever is left of it afterwards is killed."""
    from driving import Driver

    drivers = []

    def start_driver(source):
        drivers.append(Driver(tmp_path / f"driver-{len(drivers)}.py", source))
        return drivers[-1]

    yield start_driver
    for driver in drivers:
        driver.clear()


@pytest.fixture(scope="module")
def cluster():
    """A local cluster of 2 CPUs for the faults that it must survive."""
    from driving import descendants
    from waiting import wait_for

    import narke

    context = narke.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield context
    narke.shutdown()
    wait_for(lambda: not descendants(os.getpid()), what="the end of the cluster's processes")
