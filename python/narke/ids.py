"""Ids of jobs, tasks, actors, objects, nodes, workers and placement groups: fixed numbers of bytes.

Layout: a job id has 4 bytes; an actor id ends with its job's; a task id is 8 bytes of its own, then its actor's (the
job's padded with 0xff outside actors); an object id is its task's and 4 bytes of index; a placement group's id ends
with its job's. Nil is all 0xff.
"""

from __future__ import annotations

import hashlib
import os
from typing import Any, ClassVar, TypeVar

__all__ = [
    "ActorClassID",
    "ActorID",
    "BaseID",
    "FunctionID",
    "JobID",
    "NodeID",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
]

T = TypeVar("T", bound="BaseID")
_UNIQUE_BYTES = 8


class BaseID:
    """An id of `SIZE` bytes.

    Args:
        id: the bytes.

    Raises:
        ValueError: they are not `SIZE` bytes.
    """

    __slots__ = ("_bytes",)
    SIZE: ClassVar[int] = 28

    def __init__(self, id: bytes) -> None:
        if not isinstance(id, bytes):
            raise TypeError(f"Unsupported type: {type(id)}; {type(self).__name__} is made of bytes")
        if len(id) != self.SIZE:
            raise ValueError(f"ID string needs to have length {self.SIZE}, got {len(id)}")
        self._bytes = id

    @classmethod
    def from_binary(cls: type[T], id_bytes: bytes) -> T:
        """The id of these bytes.

        Raises:
            ValueError: the number of bytes is wrong.
        """
        return cls(bytes(id_bytes))

    @classmethod
    def from_hex(cls: type[T], hex_id: str | bytes) -> T:
        """The id written in hexadecimal digits.

        Raises:
            ValueError: the text is no such number or has the wrong length.
        """
        text = hex_id.decode("ascii") if isinstance(hex_id, bytes) else hex_id
        return cls(bytes.fromhex(text))

    @classmethod
    def nil(cls: type[T]) -> T:
        """The id that stands for nothing."""
        return cls(b"\xff" * cls.SIZE)

    @classmethod
    def size(cls) -> int:
        """Number of bytes."""
        return cls.SIZE

    def binary(self) -> bytes:
        """The bytes."""
        return self._bytes

    def hex(self) -> str:
        """The bytes as lower-case hexadecimal digits."""
        return self._bytes.hex()

    def is_nil(self) -> bool:
        """Whether this is the id that stands for nothing."""
        return self._bytes == b"\xff" * self.SIZE

    def redis_shard_hash(self) -> int:
        """A number that spreads ids over shards."""
        return hash(self._bytes) & 0xFFFFFFFFFFFFFFFF

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._bytes == other._bytes  # type: ignore[attr-defined]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self._bytes)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"

    def __bytes__(self) -> bytes:
        return self._bytes

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._bytes,)


class _RandomID(BaseID):
    __slots__ = ()

    @classmethod
    def from_random(cls: type[T]) -> T:
        """A new random id."""
        return cls(os.urandom(cls.SIZE))


class UniqueID(_RandomID):
    """An id of 28 random bytes."""

    __slots__ = ()


class WorkerID(UniqueID):
    """Id of a worker or driver process."""

    __slots__ = ()


class NodeID(UniqueID):
    """Id of a node."""

    __slots__ = ()


class FunctionID(UniqueID):
    """Id of an exported function."""

    __slots__ = ()


class ActorClassID(UniqueID):
    """Id of an exported actor class."""

    __slots__ = ()


class JobID(BaseID):
    """Id of a job: one program that connected, or one submitted entrypoint."""

    __slots__ = ()
    SIZE = 4

    @classmethod
    def from_int(cls, value: int) -> JobID:
        """The id of the job with that number."""
        return cls(value.to_bytes(cls.SIZE, "big"))

    def int(self) -> int:
        """The job's number."""
        return int.from_bytes(self._bytes, "big")


class ActorID(_RandomID):
    """Id of an actor."""

    __slots__ = ()
    SIZE = 16

    @classmethod
    def of(cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: int) -> ActorID:
        """The id of the actor that a task creates as its `parent_task_counter`-th."""
        unique = _digest(job_id, parent_task_id, parent_task_counter, size=cls.SIZE - JobID.SIZE)
        return cls(unique + job_id.binary())

    @property
    def job_id(self) -> JobID:
        """The job that created the actor."""
        return JobID(self._bytes[-JobID.SIZE :])


class TaskID(BaseID):
    """Id of a task."""

    __slots__ = ()
    SIZE = 24

    @classmethod
    def for_driver_task(cls, job_id: JobID) -> TaskID:
        """The id that stands for a job's driver."""
        return cls(b"\xff" * _UNIQUE_BYTES + _no_actor(job_id))

    @classmethod
    def for_fake_task(cls, job_id: JobID) -> TaskID:
        """A random id that belongs to a job and names no real task."""
        return cls(os.urandom(_UNIQUE_BYTES) + _no_actor(job_id))

    @classmethod
    def for_normal_task(cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: int) -> TaskID:
        """The id of the task that a task submits as its `parent_task_counter`-th."""
        unique = _digest(job_id, parent_task_id, parent_task_counter, size=_UNIQUE_BYTES)
        return cls(unique + _no_actor(job_id))

    @classmethod
    def for_actor_creation_task(cls, actor_id: ActorID) -> TaskID:
        """The id of the task that runs an actor's ``__init__``."""
        return cls(b"\xff" * _UNIQUE_BYTES + actor_id.binary())

    @classmethod
    def for_actor_task(
        cls, job_id: JobID, parent_task_id: TaskID, parent_task_counter: int, actor_id: ActorID
    ) -> TaskID:
        """The id of a call of an actor's method."""
        unique = _digest(job_id, parent_task_id, parent_task_counter, size=_UNIQUE_BYTES)
        return cls(unique + actor_id.binary())

    def actor_id(self) -> ActorID:
        """The actor the task belongs to; without one, only the job's part is meaningful."""
        return ActorID(self._bytes[_UNIQUE_BYTES:])

    def job_id(self) -> JobID:
        """The job the task belongs to."""
        return JobID(self._bytes[-JobID.SIZE :])


class PlacementGroupID(_RandomID):
    """Id of a placement group."""

    __slots__ = ()
    SIZE = 18

    @classmethod
    def of(cls, job_id: JobID) -> PlacementGroupID:
        """A new id of a placement group of that job."""
        return cls(os.urandom(cls.SIZE - JobID.SIZE) + job_id.binary())


def _no_actor(job_id: JobID) -> bytes:
    return b"\xff" * (ActorID.SIZE - JobID.SIZE) + job_id.binary()


def _digest(job_id: JobID, task_id: TaskID, counter: int, size: int) -> bytes:
    content = job_id.binary() + task_id.binary() + counter.to_bytes(8, "little")
    return hashlib.blake2b(content, digest_size=size).digest()
