"""What runs as a trial: classes, and functions wrapped in one."""

from __future__ import annotations

from narke.tune.trainable.function_trainable import FunctionTrainable, wrap_function
from narke.tune.trainable.trainable import Trainable
from narke.tune.trainable.util import with_parameters

__all__ = ["FunctionTrainable", "Trainable", "with_parameters", "wrap_function"]


def __getattr__(name: str) -> object:
    if name in ("FuncCheckpointUtil", "TrainableUtil"):
        from narke.tune.trainable import _legacy

        return getattr(_legacy, name)
    if name == "Session":
        from narke.tune.trainable._session import Session

        return Session
    raise AttributeError(f"narke.tune.trainable has no {name!r}")
