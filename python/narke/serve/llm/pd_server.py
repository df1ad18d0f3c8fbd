"""Replicas that read prompts apart from those that make the texts.

A prompt's keys and values go from one to the other through the object store (with transformers), or through vLLM's own
connector.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

from narke.serve.llm._private.answers import RequestError
from narke.serve.llm._private.sampling import Piece, Sampling
from narke.serve.llm.configs import LLMConfig
from narke.serve.llm.openai_api_models import CompletionRequest
from narke.serve.llm.server import LLMServer

__all__ = ["PDDecodeServer", "PDPrefillServer"]

logger = logging.getLogger("ray.serve")
_WARM_WITHIN_S = 300.0


class PDPrefillServer(LLMServer):
    """Reads prompts for `PDDecodeServer`."""

    async def prefill(self, prompt: list[int], adapter: str) -> Any:
        """What another replica needs to go on after a prompt.

        Args:
            prompt: token ids.
            adapter: ``model:adapter``, or "".
        """
        await self._until_going()
        if adapter:
            await self._adapters.get(adapter)
        return await self._engine.prefill(prompt, adapter)

    async def prewarm_prefill(self, prefill_request: Any) -> None:
        """Read a request's prompt and answer nothing, so that the first true request finds all in place.

        Raises:
            ValueError: the request cannot be answered.
        """
        messages = getattr(prefill_request, "messages", None)
        try:
            prompts = [self._chat_prompt(messages)] if messages else self._prompts(prefill_request.prompt)
        except RequestError as error:
            raise ValueError(str(error)) from None
        for prompt in prompts:
            await self.prefill(prompt, "")

    async def record_replica_metadata(self) -> dict[str, Any]:
        """What routers and decoding replicas may know of this one for as long as it lives."""
        connector = self._config.kv_connector_backend
        name = connector.name if connector is not None else "object_store"
        return {"model_id": self._config.model_id, "role": "prefill", "kv_connector": name}


class PDDecodeServer(LLMServer):
    """Makes the texts that follow prompts which `PDPrefillServer` has read."""

    def __init__(
        self,
        llm_config: LLMConfig,
        *,
        prefill_server: Any,
        engine_cls: Any = None,
        model_downloader: Any = None,
    ) -> None:
        super().__init__(llm_config, engine_cls=engine_cls, model_downloader=model_downloader)
        self._prefill = prefill_server
        self._warming = asyncio.ensure_future(self._warm())

    @classmethod
    def sync_init(  # type: ignore[override]
        cls,
        llm_config: LLMConfig,
        *,
        prefill_server: Any,
        engine_cls: Any = None,
        model_downloader: Any = None,
    ) -> PDDecodeServer:
        """The same as calling the class."""
        return cls(
            llm_config,
            prefill_server=prefill_server,
            engine_cls=engine_cls,
            model_downloader=model_downloader,
        )

    async def _warm(self) -> None:
        request = CompletionRequest(model=self._config.model_id, prompt=" x", max_tokens=1)
        try:
            await asyncio.wait_for(self._prefill.prewarm_prefill.remote(request), _WARM_WITHIN_S)
        except Exception:  # the first request finds out, and says so to whom it concerns
            logger.exception("The replicas that read prompts could not be warmed up.")

    def _runs(self, prompt: list[int], samplings: list[Sampling], adapter: str) -> list[Any]:
        handle = self._prefill.options(multiplexed_model_id=adapter) if adapter else self._prefill
        read: asyncio.Future[Any] = asyncio.ensure_future(
            _response_of(handle.prefill.remote(prompt, adapter))
        )
        return [self._go_on(prompt, sampling, adapter, read) for sampling in samplings]

    async def _go_on(
        self, prompt: list[int], sampling: Sampling, adapter: str, read: asyncio.Future[Any]
    ) -> AsyncIterator[Piece]:
        async for piece in self._engine.generate(prompt, sampling, adapter, await asyncio.shield(read)):
            yield piece


async def _response_of(response: Any) -> Any:
    return await response
