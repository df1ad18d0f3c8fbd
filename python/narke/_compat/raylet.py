"""Stands for ``ray._raylet``: the types that Ray's extension defines."""

from __future__ import annotations

import narke
from narke.ids import (
    ActorClassID,
    ActorID,
    BaseID,
    FunctionID,
    JobID,
    NodeID,
    PlacementGroupID,
    TaskID,
    UniqueID,
    WorkerID,
)

__all__ = [
    "ActorClassID",
    "ActorID",
    "BaseID",
    "FunctionID",
    "JobID",
    "Language",
    "NodeID",
    "ObjectRef",
    "ObjectRefGenerator",
    "PlacementGroupID",
    "TaskID",
    "UniqueID",
    "WorkerID",
]

ObjectRef, ObjectRefGenerator, Language = narke.ObjectRef, narke.ObjectRefGenerator, narke.Language
