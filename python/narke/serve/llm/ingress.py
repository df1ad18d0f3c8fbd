"""OpenAI's HTTP interface in front of the deployments that have the models."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import JSONResponse, Response, StreamingResponse

from narke.serve import api
from narke.serve.llm.openai_api_models import (
    ChatCompletionRequest,
    CompletionRequest,
    DetokenizeRequest,
    EmbeddingRequest,
    ErrorResponse,
    ModelCard,
    ModelList,
    ScoreRequest,
    TokenizeRequest,
)

__all__ = ["OpenAiIngress", "make_fastapi_ingress"]

DEFAULT_ENDPOINTS: dict[str, tuple[str, str]] = {
    "models": ("get", "/v1/models"),
    "model_data": ("get", "/v1/models/{model:path}"),
    "chat": ("post", "/v1/chat/completions"),
    "completions": ("post", "/v1/completions"),
    "embeddings": ("post", "/v1/embeddings"),
    "score": ("post", "/score"),
    "tokenize": ("post", "/tokenize"),
    "detokenize": ("post", "/detokenize"),
}


class OpenAiIngress:
    """Finds the model that a request names, and asks its deployment."""

    def __init__(
        self,
        llm_deployments: dict[str, Any],
        model_cards: dict[str, ModelCard],
        *,
        lora_paths: dict[str, str] | None = None,
        _get_lora_model_metadata_func: Callable[..., Any] | None = None,
    ) -> None:
        self._handles = {name: handle.options(stream=True) for name, handle in llm_deployments.items()}
        self._cards = model_cards
        self._lora_paths = lora_paths or {}
        self._adapter_facts = _get_lora_model_metadata_func

    @classmethod
    def get_deployment_options(cls, llm_configs: Any = None) -> dict[str, Any]:
        """Options of the ingress's deployment."""
        return {"max_ongoing_requests": 10_000, "ray_actor_options": {"num_cpus": 0.1}}

    async def check_health(self) -> None:
        """It is well as long as it answers."""

    async def models(self) -> ModelList:
        """All models."""
        return ModelList(data=list(self._cards.values()))

    async def model(self, model_id: str) -> ModelCard | None:
        """One model, or an adapter of one; None when there is none."""
        base, colon, adapter = model_id.partition(":")
        card = self._cards.get(base)
        if card is None or (colon and (not adapter or base not in self._lora_paths)):
            return None
        if not colon:
            return card
        facts = self._adapter_facts(model_id) if self._adapter_facts is not None else {}
        return card.model_copy(
            update={"id": model_id, "metadata": {**card.metadata, **facts, "base_model_id": base}}
        )

    async def model_data(self, model: str) -> ModelCard:
        """One model."""
        found = await self.model(model)
        if found is None:
            raise HTTPException(404, f"Unable to find {model}. Please ensure that the model exists.")
        return found

    async def chat(self, body: ChatCompletionRequest, request: Request) -> Response:
        """A conversation's next message."""
        return await self._ask("chat", body, request)

    async def completions(self, body: CompletionRequest, request: Request) -> Response:
        """What follows a prompt."""
        return await self._ask("completions", body, request)

    async def embeddings(self, body: EmbeddingRequest, request: Request) -> Response:
        """Vectors for texts."""
        return await self._ask("embeddings", body, request)

    async def score(self, body: ScoreRequest, request: Request) -> Response:
        """How well texts fit."""
        return await self._ask("score", body, request)

    async def tokenize(self, body: TokenizeRequest, request: Request) -> Response:
        """A text's tokens."""
        return await self._ask("tokenize", body, request)

    async def detokenize(self, body: DetokenizeRequest, request: Request) -> Response:
        """The text of some tokens."""
        return await self._ask("detokenize", body, request)

    async def _ask(self, method: str, body: Any, request: Request) -> Response:
        if body.model is None and len(self._handles) == 1:
            body.model = next(iter(self._handles))
        if body.model is None or await self.model(body.model) is None:
            raise HTTPException(404, f"The model {body.model!r} does not exist; see /v1/models.")
        base, colon, _ = body.model.partition(":")
        handle = self._handles[base]
        if colon:
            handle = handle.options(multiplexed_model_id=body.model)
        answers = getattr(handle, method).remote(body, {"headers": dict(request.headers)})
        first = await answers.__anext__()
        if isinstance(first, ErrorResponse):
            return JSONResponse(first.model_dump(), first.error.code)
        if isinstance(first, str):
            return StreamingResponse(_all(first, answers), media_type="text/event-stream")
        return JSONResponse(first.model_dump(mode="json"))


async def _all(first: str, rest: AsyncIterator[str]) -> AsyncIterator[str]:
    yield first
    try:
        async for event in rest:
            yield event
    finally:
        rest.cancel()  # type: ignore[attr-defined]


def _refused(status: int, message: str) -> JSONResponse:
    return JSONResponse(ErrorResponse.of(status, message).model_dump(), status)


async def _on_http_error(request: Request, error: Any) -> JSONResponse:
    return _refused(error.status_code, str(error.detail))


async def _on_invalid(request: Request, error: Any) -> JSONResponse:
    told = [f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()]
    return _refused(400, "; ".join(told))


def _route(method: str, path: str, app: FastAPI) -> Any:
    return getattr(app, method)(path, response_model=None)


def make_fastapi_ingress(
    cls: type, *, endpoint_map: dict[str, Callable[[Any], Any]] | None = None, app: FastAPI | None = None
) -> type:
    """An ingress class whose methods are routes of a FastAPI app.

    Args:
        cls: such as `OpenAiIngress`.
        endpoint_map: method name to a function from the app to the decorator of its route, as ``{"chat": lambda app:
            app.post("/v1/chat/completions")}``; OpenAI's routes by default.
        app: to be used in place of a new one.
    """
    made = app or FastAPI(title="OpenAI-compatible models")
    made.add_exception_handler(HTTPException, _on_http_error)
    made.add_exception_handler(RequestValidationError, _on_invalid)
    default: dict[str, Callable[[Any], Any]] = {
        name: functools.partial(_route, *place) for name, place in DEFAULT_ENDPOINTS.items()
    }
    routes = endpoint_map or default
    for name, decorator in routes.items():
        decorator(made)(getattr(cls, name))
    return api.ingress(made)(cls)  # type: ignore[no-any-return]
