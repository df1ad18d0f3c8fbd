"""Gangs: replicas of a deployment that start, and fail, together."""

from __future__ import annotations

import dataclasses

__all__ = ["GangContext"]


@dataclasses.dataclass
class GangContext:
    """A replica's place in its gang.

    Attributes:
        gang_id: names the gang.
        rank: this replica's number in it, from 0.
        world_size: replicas of the gang.
        member_replica_ids: their ids, by rank.
        pg_name: name of the placement group they share, or "".
    """

    gang_id: str
    rank: int
    world_size: int
    member_replica_ids: list[str]
    pg_name: str = ""
