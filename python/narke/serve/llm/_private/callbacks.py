"""Code of users that runs when a replica loads its model."""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import logging
from typing import Any

from pydantic import ConfigDict, Field

from narke.serve._private.models import Model
from narke.serve.config import import_attr

__all__ = ["CallbackBase", "CallbackConfig"]

logger = logging.getLogger("ray.serve")


class CallbackBase:
    """To be subclassed; each of the hooks may be a coroutine function, too.

    Attributes:
        llm_config: the model's config.
        raise_error_on_callback: whether an error of a hook keeps the replica from starting.
        kwargs: what the config gave beside.
    """

    def __init__(
        self,
        llm_config: Any,
        raise_error_on_callback: bool = True,
        ctx_kwargs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.llm_config = llm_config
        self.raise_error_on_callback = raise_error_on_callback
        self.ctx = ctx_kwargs or {}
        self.kwargs = kwargs

    async def on_before_node_init(self) -> None:
        """The model is about to be loaded."""

    async def on_after_node_init(self) -> None:
        """The model is loaded."""

    def on_before_download_model_files_distributed(self) -> None:
        """The model's files are about to be fetched, if they lie elsewhere."""

    def run_callback_sync(self, method_name: str) -> None:
        """Run a hook, a coroutine function on an event loop of its own.

        Raises:
            RuntimeError: the hook has failed, and that is not to be passed over.
        """
        try:
            result = getattr(self, method_name)()
            if inspect.iscoroutine(result):
                with concurrent.futures.ThreadPoolExecutor(
                    1
                ) as pool:  # this thread may have a loop that runs
                    pool.submit(asyncio.run, result).result()
        except Exception as error:
            text = f"Error running callback method {method_name!r} on {type(self).__name__}: {error}"
            if self.raise_error_on_callback:
                raise RuntimeError(text) from error
            logger.exception(text)


class CallbackConfig(Model):
    """Which class, if any.

    Attributes:
        callback_class: a `CallbackBase`, or where it can be imported from; None: nothing is called.
        callback_kwargs: further arguments.
        raise_error_on_callback: see `CallbackBase`.
    """

    model_config = ConfigDict(extra="forbid")

    callback_class: str | type | None = None
    callback_kwargs: dict[str, Any] = Field(default_factory=dict)
    raise_error_on_callback: bool = True

    def make(self, llm_config: Any) -> Any:
        """The callback of a process; None where the config names none."""
        found = (
            import_attr(self.callback_class) if isinstance(self.callback_class, str) else self.callback_class
        )
        if found is None:
            return None
        return found(
            raise_error_on_callback=self.raise_error_on_callback,
            llm_config=llm_config,
            ctx_kwargs={"runtime_env": llm_config.runtime_env},
            **self.callback_kwargs,
        )
