"""Objects spilled to storage that all nodes reach, and read back by other nodes than those that wrote them."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import object_storage
import pytest
from cluster_members import until

import narke as ray
from narke.cluster_utils import Cluster

STORE = 100_000_000
COUNT = 8
VALUES = 2_500_000  # 20 MB
MOST_IN_MEMORY = 5


@pytest.fixture(scope="module")
def s3_port():
    pytest.importorskip("moto.server")
    with object_storage.s3_server() as port:
        yield port


@pytest.fixture(params=["folder", "s3"])
def storage(request, tmp_path, monkeypatch):
    if request.param == "folder":
        return object_storage.Folder(tmp_path / "shared")
    port = request.getfixturevalue("s3_port")
    for name, value in object_storage.environment(port).items():
        monkeypatch.setenv(name, value)
    return object_storage.Bucket(port)


@pytest.fixture
def spilling(storage):
    """A cluster that spills there."""
    config = {"type": "smart_open", "params": {"uri": storage.uri}}
    made = Cluster(
        initialize_head=True,
        connect=True,
        head_node_args={
            "num_cpus": 2,
            "object_store_memory": STORE,
            "_system_config": {"object_spilling_config": json.dumps(config)},
        },
    )
    yield made
    ray.shutdown()
    made.shutdown()
    until(lambda: not storage.files())  # nothing of a cluster stays when it ends


@ray.remote(max_retries=0, resources={"there": 1})
def full_of(number: int) -> np.ndarray:
    return np.full(VALUES, number)


@ray.remote(resources={"third": 1})
def last_of(refs: list) -> int:
    return int(ray.get(refs[0])[-1])


def spilled_there(cluster, storage):
    """A node, and references to what it made and alone had: in the order in which it came."""
    node = cluster.add_node(num_cpus=1, resources={"there": 1}, object_store_memory=STORE)
    refs = [full_of.remote(number) for number in range(COUNT)]
    ready, _ = ray.wait(refs, num_returns=COUNT, timeout=60, fetch_local=False)
    assert len(ready) == COUNT
    least = COUNT - MOST_IN_MEMORY
    until(lambda: least <= len(storage.files()) == len(storage.files(at_least=8 * VALUES)))
    return node, refs


def with_files(refs, storage, first: int = 0) -> list[int]:
    """Which of them have a file, from `first` on. The store may have moved more than it had to."""
    files = storage.files()
    return [n for n, ref in enumerate(refs, first) if any(name.endswith(ref.hex()) for name in files)]


def kill(node) -> None:
    os.kill(node.process.pid, signal.SIGKILL)
    node.process.process.wait()


def readable(refs, first: int = 0) -> list[int]:
    """Which of them still have their values; each that has one has the right one, from `first` on."""
    found = []
    for number, ref in enumerate(refs, first):
        try:
            assert (ray.get(ref, timeout=60) == number).all()
        except ray.exceptions.ObjectLostError:
            continue
        found.append(number)
    return found


def test_another_node_reads_what_a_killed_one_has_spilled(spilling, storage):
    node, refs = spilled_there(spilling, storage)
    spilled = with_files(refs, storage)
    kill(node)
    third = spilling.add_node(num_cpus=1, resources={"third": 1}, object_store_memory=STORE)
    found = readable(refs)
    assert set(spilled) <= set(found) <= set(with_files(refs, storage))  # one may have been on its way
    for number in found:
        assert ray.get(last_of.remote([refs[number]]), timeout=60) == number
    assert third.process.process.poll() is None


def test_nothing_stays_there_of_what_nobody_needs(spilling, storage):
    node, refs = spilled_there(spilling, storage)
    dropped = [ref.hex() for ref in refs[:2]]
    del refs[:2]
    until(lambda: not any(name.endswith(tuple(dropped)) for name in storage.files()))
    spilled = with_files(refs, storage, first=2)
    kill(node)
    until(lambda: sum(each["Alive"] for each in ray.nodes()) == 1)
    assert 2 in spilled and set(spilled) <= set(readable(refs, first=2))
    del refs
    until(lambda: not storage.files())


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
def test_a_file_that_has_changed_is_not_taken_for_the_object(spilling, storage):
    node, refs = spilled_there(spilling, storage)
    kill(node)
    storage.spoil()
    with pytest.raises(ray.exceptions.ObjectLostError):
        ray.get(refs[0], timeout=60)


@pytest.mark.parametrize("storage", ["folder"], indirect=True)
def test_the_process_that_spills_may_die(spilling, storage):
    refs = []
    for number in range(COUNT):
        refs.append(ray.put(np.full(VALUES, number)))
        for pid in spillers(spilling.head_node.process.pid) if number % 4 == 3 else ():
            os.kill(pid, signal.SIGKILL)
    assert storage.files()
    for number, ref in enumerate(refs):
        assert (ray.get(ref, timeout=60) == number).all()


def spillers(node_pid: int) -> list[int]:
    with open(f"/proc/{node_pid}/task/{node_pid}/children", encoding="ascii") as file:
        children = [int(word) for word in file.read().split()]
    return [pid for pid in children if b"spiller" in command_of(pid)]


def command_of(pid: int) -> bytes:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
