"""Backends and options of collective operations; no group is made."""

import pytest

from narke.util import collective
from narke.util.collective import backend_registry, types
from narke.util.collective.collective import GroupManager
from narke.util.collective.collective_group.base_collective_group import BaseGroup
from narke.util.collective.const import ENV, get_store_name


class Recorded(BaseGroup):
    """A group that writes down what it was told."""

    def __init__(self, world_size, rank, group_name):
        super().__init__(world_size, rank, group_name)
        self.calls = []

    @classmethod
    def backend(cls):
        return "RECORDED"

    @classmethod
    def check_backend_availability(cls):
        return True

    def allreduce(self, tensor, allreduce_options=None):
        self.calls.append(("allreduce", tensor, allreduce_options.reduceOp))

    def barrier(self, barrier_options=None):
        self.calls.append(("barrier",))

    def reduce(self, tensor, reduce_options=None):
        self.calls.append(("reduce", tensor, reduce_options.root_rank))

    def allgather(self, tensor_list, tensor, allgather_options=None):
        self.calls.append(("allgather", tensor_list, tensor))

    def broadcast(self, tensor, broadcast_options=None):
        self.calls.append(("broadcast", tensor, broadcast_options.root_rank))

    def reducescatter(self, tensor, tensor_list, reducescatter_options=None):
        self.calls.append(("reducescatter", tensor, tensor_list))

    def send(self, tensor, send_options):
        self.calls.append(("send", tensor, send_options.dst_rank))

    def recv(self, tensor, recv_options):
        self.calls.append(("recv", tensor, recv_options.src_rank))


@pytest.fixture
def group(monkeypatch):
    monkeypatch.setattr(backend_registry.registry, "_classes", {})
    collective.register_collective_backend("recorded", Recorded)
    collective.init_collective_group(2, 1, "recorded", "test group")
    yield collective.get_group_handle("test group")
    collective.destroy_collective_group("test group")


def test_operations_reach_the_group(group):
    name = "test group"
    collective.allreduce("t", name, types.ReduceOp.MAX)
    collective.barrier(name)
    collective.reduce("t", 1, name)
    collective.broadcast("t", 1, name)
    collective.allgather([0, 0], "t", name)
    collective.reducescatter("t", [0, 0], name)
    collective.send("t", 0, name)
    collective.recv("t", 0, name)
    assert group.calls == [
        ("allreduce", "t", types.ReduceOp.MAX),
        ("barrier",),
        ("reduce", "t", 1),
        ("broadcast", "t", 1),
        ("allgather", [0, 0], "t"),
        ("reducescatter", "t", [0, 0]),
        ("send", "t", 0),
        ("recv", "t", 0),
    ]
    assert collective.get_rank(name) == 1 and collective.get_collective_group_size(name) == 2
    assert collective.is_group_initialized(name) and collective.is_backend_available("recorded")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda name: collective.init_collective_group(2, 0, "recorded", name), RuntimeError, "already"),
        (lambda name: collective.init_collective_group(2, 2, "recorded", "x"), ValueError, "rank 2"),
        (lambda name: collective.init_collective_group(2, 0, "nothing", "x"), ValueError, "nothing"),
        (lambda name: collective.init_collective_group(2, 0, "nccl", "x"), RuntimeError, "GLOO"),
        (lambda name: collective.init_collective_group(2, 0, "recorded", ""), ValueError, "empty"),
        (lambda name: collective.send("t", 1, name), RuntimeError, "itself"),
        (lambda name: collective.recv("t", 1, name), RuntimeError, "itself"),
        (lambda name: collective.broadcast("t", 5, name), ValueError, "rank 5"),
        (lambda name: collective.allgather([0], "t", name), RuntimeError, "size, 2"),
        (lambda name: collective.barrier("no such group"), RuntimeError, "not initialized"),
        (lambda name: collective.allreduce_multigpu([], name), RuntimeError, "not available"),
        (lambda name: collective.register_collective_backend("recorded", Recorded), ValueError, "already"),
        (lambda name: collective.register_collective_backend("other", int), TypeError, "BaseGroup"),
        (lambda name: collective.create_collective_group([1, 2], 2, [0, 0], "gloo"), ValueError, "from 0"),
    ],
)
def test_refused(group, call, error, text):
    with pytest.raises(error, match=text):
        call("test group")


def test_names_and_settings(monkeypatch):
    assert types.Backend("gloo") == types.Backend.GLOO
    assert GroupManager().get_group_by_name("x") is None
    assert collective.get_rank("no such group") == -1
    monkeypatch.delenv("NCCL_USE_MULTISTREAM", raising=False)
    assert ENV.NCCL_USE_MULTISTREAM.val is True
    monkeypatch.setenv("NCCL_USE_MULTISTREAM", "0")
    assert ENV.NCCL_USE_MULTISTREAM.val is False
    with pytest.raises(ValueError, match="empty"):
        get_store_name("")
