"""What the mixins of trackers share: a tracker's run around a trial."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from narke.tune.trainable.trainable import Trainable

__all__ = ["check_mixed_into_trainable", "inside_a_run"]


def inside_a_run(
    func: Callable, begin: Callable[[dict[str, Any]], Any], end: Callable[[Any, bool], None]
) -> Callable:
    """A trial's function with a tracker's run around it.

    Args:
        func: the function of a configuration.
        begin: begins the run for a configuration.
        end: ends the run that `begin` returned; told whether the function failed.
    """

    @functools.wraps(func)
    def wrapped(config: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        run = begin(config)
        try:
            value = func(config, *args, **kwargs)
        except BaseException:
            end(run, True)
            raise
        end(run, False)
        return value

    return wrapped


def check_mixed_into_trainable(mixed: Any, mixin: str) -> None:
    """See that a mixin is one of a trainable class.

    Args:
        mixed: the object being made.
        mixin: name of the mixin.

    Raises:
        ValueError: it is no `Trainable`.
    """
    if not isinstance(mixed, Trainable):
        raise ValueError(f"{mixin} is mixed into classes that derive from Trainable, in front of it")
