"""Ids: sizes, texts, equality, and what one id says of another."""

import pickle

import pytest

from narke.ids import (
    ActorClassID,
    ActorID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)

SIZES = {
    UniqueID: 28,
    NodeID: 28,
    WorkerID: 28,
    FunctionID: 28,
    ActorClassID: 28,
    JobID: 4,
    ActorID: 16,
    TaskID: 24,
    PlacementGroupID: 18,
}


@pytest.mark.parametrize("kind, size", SIZES.items(), ids=lambda value: getattr(value, "__name__", ""))
class TestEveryKind:
    def test_round_trips(self, kind, size):
        identity = kind(bytes(range(size)))
        assert identity.size() == size and len(identity.binary()) == size
        assert kind.from_hex(identity.hex()) == identity == kind.from_binary(identity.binary())
        assert pickle.loads(pickle.dumps(identity)) == identity
        assert repr(identity) == f"{kind.__name__}({identity.hex()})"

    def test_nil(self, kind, size):
        assert kind.nil().is_nil()
        assert not kind(b"\0" * size).is_nil()

    def test_hash_and_equality(self, kind, size):
        one, same, other = kind(b"\1" * size), kind(b"\1" * size), kind(b"\2" * size)
        assert one == same and hash(one) == hash(same)
        assert one != other and one != b"\1" * size

    @pytest.mark.parametrize("wrong", [b"", b"\0" * 40])
    def test_wrong_size(self, kind, size, wrong):
        with pytest.raises(ValueError, match=str(size)):
            kind(wrong)

    def test_wrong_type(self, kind, size):
        with pytest.raises(TypeError):
            kind("a" * size)


def test_kinds_differ():
    assert NodeID(b"\1" * 28) != WorkerID(b"\1" * 28)


def test_random_ids_differ():
    assert len({UniqueID.from_random() for _ in range(100)}) == 100


def test_job_number():
    assert JobID.from_int(258).hex() == "00000102"
    assert JobID.from_int(258).int() == 258


def test_ids_contain_their_job():
    job = JobID.from_int(7)
    driver = TaskID.for_driver_task(job)
    task = TaskID.for_normal_task(job, driver, 1)
    actor = ActorID.of(job, driver, 1)
    call = TaskID.for_actor_task(job, driver, 1, actor)
    group = PlacementGroupID.of(job)
    assert driver.job_id() == task.job_id() == actor.job_id == call.job_id() == job
    assert group.binary().endswith(job.binary())
    assert call.actor_id() == actor == TaskID.for_actor_creation_task(actor).actor_id()
    assert len({driver, task, call, TaskID.for_fake_task(job)}) == 4
