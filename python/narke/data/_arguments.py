"""Checks of arguments that many operators share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ARGS_FN = "ray_remote_args_fn"  # a function that gives further options of each task or actor


def remote_arguments(options: dict[str, Any]) -> dict[str, Any]:
    """Options for tasks and actors out of those given to an operator; None means not given.

    Raises:
        TypeError: there is no such option.
    """
    from narke._private import options as known

    given = {name: value for name, value in options.items() if value is not None}
    accepted = getattr(known, "TASK_OPTIONS", None)
    if accepted is not None:
        unknown = sorted(
            set(given) - set(accepted) - {"max_restarts", "max_task_retries", "max_concurrency", ARGS_FN}
        )
        if unknown:
            raise TypeError(f"there are no options {unknown} of tasks and actors")
    return given


def unsupported(options: dict[str, Any], names: Iterable[str]) -> None:
    """Take arguments that are not built out of `options`; giving one a value is an error.

    Raises:
        NotImplementedError: one of them is given.
    """
    for name in names:
        if options.pop(name, None):
            raise NotImplementedError(f"the argument {name} is not built; leave it out")
