"""`InputNode`: stands for what ``execute()`` is given."""

from __future__ import annotations

from typing import Any

from narke.dag.dag_node import DAGNode

__all__ = ["DAGInputData", "InputAttributeNode", "InputNode"]

IN_CONTEXT_MANAGER = "__in_context_manager__"


class InputNode(DAGNode):
    """The input of a graph; used as ``with InputNode() as x:``.

    It stands for the one positional argument of ``execute()``, or, when that got several or keywords, for a
    `DAGInputData` of all. ``x[0]``, ``x["key"]`` and ``x.key`` stand for parts of it.

    Args:
        args: none.
        input_type: what the input is, for tools: a type, or a dict of types by index or name.
        kwargs: none.

    Raises:
        ValueError: arguments are given.
    """

    def __init__(
        self,
        *args: Any,
        input_type: Any = None,
        _other_args_to_resolve: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if args or kwargs:
            raise ValueError("InputNode should not take any args or kwargs: they are given to execute()")
        self.input_type = input_type
        self._user_context: dict[str, Any] = {}
        super().__init__((), {}, {}, _other_args_to_resolve or {})

    def __enter__(self) -> InputNode:
        self.set_context(IN_CONTEXT_MANAGER, True)
        return self

    def __exit__(self, *args: Any) -> None:
        return None

    def set_context(self, key: str, val: Any) -> None:
        """Remember something with the node."""
        self._bound_other_args_to_resolve[key] = val

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: Any) -> Any:
        self._check_context()
        if len(execution.args) == 1 and not execution.kwargs:
            return execution.args[0]
        return DAGInputData(*execution.args, **execution.kwargs)

    def _check_context(self) -> None:
        if IN_CONTEXT_MANAGER not in self._bound_other_args_to_resolve:
            raise AssertionError(
                "InputNode is a singleton instance that should be only used in context manager for dag building and "
                "execution: write `with InputNode() as x:`."
            )

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__") or key in ("remote", "bind", "_bound_other_args_to_resolve"):
            return super().__getattr__(key)
        return InputAttributeNode(self, key, "__getattr__")

    def __getitem__(self, key: int | str) -> InputAttributeNode:
        if not isinstance(key, (int, str)):
            raise TypeError(
                "Please only use int index or str as first-level key to access fields of dag input."
            )
        return InputAttributeNode(self, key, "__getitem__", self._type_of(key))

    def _type_of(self, key: int | str) -> Any:
        return self.input_type.get(key) if isinstance(self.input_type, dict) else None

    def get_result_type(self) -> str | None:
        """Name of the type of the input, if it was said."""
        return getattr(self.input_type, "__name__", None)


class InputAttributeNode(DAGNode):
    """A part of a graph's input.

    Args:
        dag_input_node: the input.
        key: index or name.
        accessor_method: ``"__getitem__"`` or ``"__getattr__"``.
        input_type: what the part is, for tools.
    """

    def __init__(
        self, dag_input_node: InputNode, key: int | str, accessor_method: str, input_type: Any = None
    ) -> None:
        self._dag_input_node = dag_input_node
        self._key = key
        self._accessor_method = accessor_method
        self._result_type = getattr(input_type, "__name__", None)
        other = {
            "dag_input_node": dag_input_node,
            "key": key,
            "accessor_method": accessor_method,
            "result_type_string": self._result_type,
        }
        super().__init__((), {}, {}, other)

    @property
    def key(self) -> int | str:
        """Index or name."""
        return self._key

    def _call(self, args: tuple[Any, ...], kwargs: dict[str, Any], execution: Any) -> Any:
        whole = self._dag_input_node._run(execution)
        if isinstance(whole, DAGInputData):
            return whole[self._key]
        return whole[self._key] if self._accessor_method == "__getitem__" else getattr(whole, str(self._key))

    def get_result_type(self) -> str | None:
        """Name of the type of the part, if it was said."""
        return self._result_type

    def _body_text(self) -> str:
        return f'["{self._key}"]'


class DAGInputData:
    """Several arguments of ``execute()``: positional ones by index, keywords by name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._args = list(args)
        self._kwargs = kwargs

    def __getitem__(self, key: int | str) -> Any:
        if isinstance(key, int):
            return self._args[key]
        if isinstance(key, str):
            return self._kwargs[key]
        raise TypeError("Please only use int index or str as first-level key to access fields of dag input.")
