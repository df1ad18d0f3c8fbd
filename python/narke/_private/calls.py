"""What `f.remote` is: the extension's call object once the extension is loaded, a stand-in before.

Decorators run at import, when nothing says that the program will ever connect; the extension is loaded by the first
call.
"""

from __future__ import annotations

import functools
import sys
import weakref
from collections.abc import Callable
from typing import Any

__all__ = ["task_call"]


def task_call(owner: Any, prepare: Callable[[], dict[str, Any]], function: Callable[..., Any]) -> Any:
    """The callable that submits tasks.

    Args:
        owner: the object whose attribute ``remote`` the result becomes; the stand-in replaces itself there.
        prepare: describes the task to the extension; called at the first use of each connection.
        function: the function, for the stand-in's name and signature.
    """
    native = sys.modules.get("narke._native")
    return native.TaskCall(prepare) if native is not None else _DeferredCall(owner, prepare, function)


class _DeferredCall:
    """Loads the extension at the first call and puts its call object in its own place."""

    def __init__(
        self, owner: Any, prepare: Callable[[], dict[str, Any]], function: Callable[..., Any]
    ) -> None:
        functools.update_wrapper(self, function, updated=())
        self._owner = weakref.ref(owner)
        self._prepare = prepare
        self._call: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._call is None:
            from narke import _native

            self._call = _native.TaskCall(self._prepare)
            owner = self._owner()
            if owner is not None:
                owner.remote = self._call
        return self._call(*args, **kwargs)
