"""What users are told of executions while they run."""

from __future__ import annotations

from typing import Any


class ExecutionCallback:
    """Base of callbacks, built for each execution; see `DataContext.custom_execution_callback_classes`.

    A class with a static method `from_data_context(context)` is built by that, others without arguments. Each method
    gets the `narke.data.execute.executor.Execution`. An error of `before_execution_starts` ends the execution.
    """

    def before_execution_starts(self, executor: Any) -> None:
        """Nothing has started."""

    def on_execution_step(self, executor: Any) -> None:
        """Tasks have been started, or have given something."""

    def after_execution_succeeds(self, executor: Any) -> None:
        """All is done, or whoever took the results has had enough."""

    def after_execution_fails(self, executor: Any, error: Exception) -> None:
        """It ended with an error."""


def built(classes: list[Any], context: Any) -> list[Any]:
    """The callbacks of one execution."""
    return [cls.from_data_context(context) if hasattr(cls, "from_data_context") else cls() for cls in classes]
