"""Objects that go to disk: where to, what happens when it is full, and that nothing stays there."""

import contextlib
import os
import pathlib
import signal
import subprocess

import pytest
from driving import node_of
from waiting import wait_for

FILL = """
import json, time, numpy as np, narke
narke.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000, {option})
refs = []
try:
    for i in range({count}):
        refs.append(narke.put(np.full(2_500_000, i)))
except narke.exceptions.ObjectStoreFullError as error:
    print("full", type(error).__name__, str(error).replace(chr(10), " "))
print("stored", len(refs))
del refs[len(refs) - {dropped}:]
print("right", sum(int(narke.get(ref)[7]) == i for i, ref in enumerate(refs)))
time.sleep(300)
"""

HUGE = """
import numpy as np, narke
narke.init(address="local", num_cpus=1, include_dashboard=False, object_store_memory=3_500_000_000)
@narke.remote
def ends(array):
    return int(array[0]), int(array[-1]), array.nbytes
array = np.zeros(3_200_000_000, np.uint8)
array[-1] = 7
print("ends", narke.get(ends.remote(array), timeout=100))
"""

OPTIONS = [
    "object_spilling_directory={folder!r}",
    "_system_config=dict(object_spilling_config=json.dumps(dict(type='filesystem', "
    "params=dict(directory_path=[{folder!r}]))))",
]


def spilled(folder):
    return [path for path in pathlib.Path(folder).rglob("*") if path.suffix in (".spill", ".tmp")]


class TestFolder:
    @pytest.mark.parametrize("option", OPTIONS, ids=["by option", "by configuration"])
    def test_is_used_and_left_empty(self, start, tmp_path, option):
        driver = start(FILL.format(option=option.format(folder=str(tmp_path / "disk")), count=12, dropped=0))
        assert driver.said("stored", timeout_s=60) == "12"
        assert driver.said("right", timeout_s=60) == "12"
        assert spilled(tmp_path / "disk")
        driver.send(signal.SIGTERM)
        driver.ended()
        driver.leaves_nothing()
        assert not list((tmp_path / "disk").iterdir())

    def test_a_killed_node_leaves_nothing_in_it(self, start, tmp_path):
        option = OPTIONS[0].format(folder=str(tmp_path / "disk"))
        driver = start(FILL.format(option=option, count=12, dropped=0))
        assert driver.said("right", timeout_s=60) == "12"
        assert spilled(tmp_path / "disk")
        os.kill(node_of(driver.pid), signal.SIGKILL)
        driver.send(signal.SIGTERM)
        driver.ended()
        driver.leaves_nothing()
        assert not list((tmp_path / "disk").iterdir())

    @pytest.mark.parametrize(
        ("option", "says"),
        [
            ("object_spilling_directory='/proc/none'", "object_spilling_directory '/proc/none'"),
            ("object_spilling_directory=7", "folder's path"),
            ("_system_config=dict(object_spilling_config='no json')", "object_spilling_config"),
            ("_system_config=dict(object_spilling_config='{{\"type\": \"tape\", "
             "\"params\": {{\"directory_path\": \"/x\"}}}}')", "'tape'"),
            ("object_spilling_directory='nowhere://folder'", "nowhere"),
            ("_system_config=dict(object_spilling_config=dict(type='smart_open', params=dict(uri=7)))", "params.uri"),
            ("_system_config=dict(object_spilling_config=dict(type='smart_open', params=dict(uri='file:///tmp', x=1)))",
             "'x'"),
        ],
    )  # fmt: skip
    def test_is_checked_before_anything_starts(self, start, option, says):
        driver = start(FILL.format(option=option.format(), count=1, dropped=0))
        assert driver.ended() == 1
        assert "ValueError" in driver.errors and says in driver.errors


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 120 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=120m", "none", folder], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.decode().strip()}")
    yield folder
    with contextlib.suppress(subprocess.CalledProcessError):
        wait_for(lambda: subprocess.run(["umount", folder]).returncode == 0, what="the end of the small disk")


def test_a_full_disk_is_told_and_loses_nothing(start, small_disk):
    driver = start(FILL.format(option=OPTIONS[0].format(folder=str(small_disk)), count=30, dropped=2))
    error, text = driver.said("full", timeout_s=90).split(" ", 1)
    assert error in ("OutOfDiskError", "ObjectStoreFullError") and str(small_disk) in text
    stored = int(driver.said("stored"))
    assert 6 <= stored < 30
    assert int(driver.said("right", timeout_s=60)) == stored - 2
    driver.send(signal.SIGTERM)
    driver.ended()


def test_an_argument_of_three_gigabytes(start):
    available = next(
        int(line.split()[1])
        for line in pathlib.Path("/proc/meminfo").read_text().splitlines()
        if "MemAvail" in line
    )
    if available < 9 << 20:
        pytest.skip("needs 9 GiB of memory")
    driver = start(HUGE)
    assert driver.said("ends", timeout_s=110) == "(0, 7, 3200000000)"
    assert driver.ended() == 0
    driver.leaves_nothing()
