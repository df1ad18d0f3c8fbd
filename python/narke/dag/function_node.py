"""`FunctionNode`: a task in a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.dag.dag_node import DAGNode

__all__ = ["FunctionNode"]


class FunctionNode(DAGNode):
    """A call of a remote function.

    Args:
        func_body: the plain function.
        func_args, func_kwargs: its arguments.
        func_options: options of the task.
        other_args_to_resolve: see `DAGNode`.
    """

    def __init__(
        self,
        func_body: Callable[..., Any],
        func_args: tuple[Any, ...],
        func_kwargs: dict[str, Any],
        func_options: dict[str, Any],
        other_args_to_resolve: dict[str, Any] | None = None,
    ) -> None:
        self._body = func_body
        super().__init__(func_args, func_kwargs, func_options, other_args_to_resolve)

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: Any) -> Any:
        from narke.remote_function import RemoteFunction

        if "_remote" not in self.__dict__:
            self.__dict__["_remote"] = RemoteFunction(self._body, self._bound_options)
        return self.__dict__["_remote"].remote(*args, **kwargs)

    def get_func_name(self) -> str:
        """The function's name."""
        return self._body.__name__

    def _body_text(self) -> str:
        return str(self._body)
