"""The base of Serve's pydantic models."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

__all__ = ["Model"]


class Model(BaseModel):
    """Builds its validator when it is first used: a replica imports all models of Serve and uses hardly one."""

    model_config = ConfigDict(defer_build=True)
