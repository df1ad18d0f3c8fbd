"""The deployment that has the model."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from narke.serve._private.multiplexing import ModelCache
from narke.serve.context import request_context
from narke.serve.llm._private.answers import RequestError, content_of, encoded, merged, usage_of, whole
from narke.serve.llm._private.answers import event as sse
from narke.serve.llm._private.control import EngineControl
from narke.serve.llm._private.loading import fetched
from narke.serve.llm._private.sampling import Sampling
from narke.serve.llm.configs import LLMConfig
from narke.serve.llm.openai_api_models import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamResponse,
    CompletionRequest,
    CompletionResponse,
    CompletionStreamResponse,
    DetokenizeRequest,
    DetokenizeResponse,
    EmbeddingRequest,
    EmbeddingResponse,
    ErrorResponse,
    ScoreRequest,
    ScoreResponse,
    TokenizeRequest,
    TokenizeResponse,
)

__all__ = ["LLMServer"]

logger = logging.getLogger("ray.serve")
_COMPLETION_TOKENS = 16  # without max_tokens, as OpenAI's


def engine_of(config: LLMConfig) -> Any:
    """The engine that a config asks for and this machine has, with the model loaded."""
    given = config.get_engine_config()
    source = fetched(given.source, tries=3)
    tokenizer = fetched(given.tokenizer_source, tries=3) if given.tokenizer_source else None
    if config.llm_engine == "vLLM" and _has_vllm():
        from narke.serve.llm._private.vllm_engine import VLLMEngine

        return VLLMEngine(source, tokenizer, given.options)
    from narke.serve.llm._private.transformers_engine import TransformersEngine

    if config.llm_engine == "vLLM":
        logger.warning("vLLM needs its package and a GPU: %s runs on transformers here.", given.model_id)
    return TransformersEngine(source, tokenizer, given.options, threads=_cpus())


def _cpus() -> int:
    """CPUs that this replica may use."""
    import narke

    return max(1, int(narke.get_runtime_context().get_assigned_resources().get("CPU", 1)))


def _has_vllm() -> bool:
    import importlib.util

    if importlib.util.find_spec("vllm") is None:
        return False
    import torch

    return bool(torch.cuda.is_available())


class LLMServer(EngineControl):
    """Answers OpenAI requests for one model and its adapters.

    Each of `chat`, `completions` and `embeddings` is a stream: of server-sent events for a request with ``stream``,
    else of one response object, or of one `ErrorResponse`.
    """

    def __init__(
        self, llm_config: LLMConfig, *, engine_cls: Any = None, model_downloader: Any = None
    ) -> None:
        super().__init__()
        self._config = llm_config
        self._download = model_downloader or fetched
        self._engine: Any = self._load(engine_cls or engine_of)
        held = llm_config.multiplex_config()
        most = held.max_num_models_per_replica if held is not None else 1
        self._adapters = ModelCache(self._load_adapter, None, most, self._engine.drop_adapter)

    def _load(self, make_engine: Any) -> Any:
        config = self._config
        config.setup_engine_backend()
        callback = config.get_or_create_callback()
        if callback is not None:
            callback.run_callback_sync("on_before_node_init")
            if "://" in config.get_engine_config().source:
                callback.run_callback_sync("on_before_download_model_files_distributed")
        engine = make_engine(config)
        config.apply_checkpoint_info(config.model_id, hf_config=getattr(engine, "hf_config", None))
        if callback is not None:
            callback.run_callback_sync("on_after_node_init")
        return engine

    @classmethod
    def sync_init(
        cls, llm_config: LLMConfig, *, engine_cls: Any = None, model_downloader: Any = None
    ) -> LLMServer:
        """The same as calling the class."""
        return cls(llm_config, engine_cls=engine_cls, model_downloader=model_downloader)

    @classmethod
    def get_deployment_options(cls, llm_config: LLMConfig) -> dict[str, Any]:
        """Options of the deployment that serves a config."""
        options: dict[str, Any] = {"max_ongoing_requests": 1024, **llm_config.deployment_config}
        if "num_replicas" not in options and "autoscaling_config" not in options:
            options["num_replicas"] = 1
        actor = dict(options.get("ray_actor_options") or {})
        if llm_config.runtime_env:
            actor["runtime_env"] = {**llm_config.runtime_env, **(actor.get("runtime_env") or {})}
        if llm_config.placement_group_config:
            options["placement_group_bundles"] = llm_config.placement_group_config["bundles"]
            options["placement_group_strategy"] = llm_config.placement_group_config.get("strategy", "PACK")
        elif llm_config.gpus():
            actor = {"num_gpus": llm_config.gpus(), "accelerator_type": llm_config.accelerator_type, **actor}
        if actor:
            options["ray_actor_options"] = actor
        return options

    # ---- requests ----

    async def chat(self, request: ChatCompletionRequest, raw_request_info: Any = None) -> AsyncIterator[Any]:
        """The next message of a conversation."""
        try:
            adapter = await self._begin(request)
            prompt = self._chat_prompt(request.messages)
            sampling = Sampling.of(request, self._room(prompt))
        except RequestError as error:
            yield ErrorResponse.of(error.status, str(error))
            return
        runs = self._runs(prompt, [sampling] * request.n, adapter)
        name = request.model or self._config.model_id
        if request.stream:
            async for event in self._chat_events(request, name, runs, len(prompt)):
                yield event
            return
        texts = await asyncio.gather(*(whole(run) for run in runs))
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": why,
            }
            for i, (text, _, why) in enumerate(texts)
        ]
        usage = usage_of(len(prompt), sum(tokens for _, tokens, _ in texts))
        yield ChatCompletionResponse(model=name, choices=choices, usage=usage)

    async def completions(
        self, request: CompletionRequest, raw_request_info: Any = None
    ) -> AsyncIterator[Any]:
        """What follows a prompt, or several."""
        try:
            adapter = await self._begin(request)
            given = self._prompts(request.prompt)
            samplings = [Sampling.of(request, self._room(each), _COMPLETION_TOKENS) for each in given]
        except RequestError as error:
            yield ErrorResponse.of(error.status, str(error))
            return
        runs, prompts = [], [prompt for prompt in given for _ in range(request.n)]
        for prompt, sampling in zip(given, samplings, strict=True):
            runs += self._runs(prompt, [sampling] * request.n, adapter)
        first = [self._text(prompt) if request.echo else "" for prompt in prompts]
        name = request.model or self._config.model_id
        read = sum(len(prompt) for prompt in prompts)
        if request.stream:
            async for event in self._completion_events(request, name, runs, first, read):
                yield event
            return
        texts = await asyncio.gather(*(whole(run) for run in runs))
        choices = [
            {"index": i, "text": first[i] + text, "logprobs": None, "finish_reason": why}
            for i, (text, _, why) in enumerate(texts)
        ]
        usage = usage_of(read, sum(tokens for _, tokens, _ in texts))
        yield CompletionResponse(model=name, choices=choices, usage=usage)

    def _runs(self, prompt: list[int], samplings: list[Sampling], adapter: str) -> list[Any]:
        """The texts that follow a prompt, one for each sampling, as streams of pieces."""
        return [self._engine.generate(prompt, sampling, adapter) for sampling in samplings]

    async def score(self, request: ScoreRequest, raw_request_info: Any = None) -> AsyncIterator[Any]:
        """How well texts fit."""
        try:
            await self._until_going()
            first, second = request.pairs()
            pairs = [a + b for a, b in zip(self._prompts(first), self._prompts(second), strict=True)]
            for pair in pairs:
                self._room(pair, for_text=False)
        except ValueError as error:
            yield ErrorResponse.of(400, str(error))
            return
        except RequestError as error:
            yield ErrorResponse.of(error.status, str(error))
            return
        scores = await self._engine.score(first, second)
        data = [{"object": "score", "index": index, "score": score} for index, score in enumerate(scores)]
        name = request.model or self._config.model_id
        yield ScoreResponse(model=name, data=data, usage=usage_of(sum(map(len, pairs)), 0))

    async def embeddings(self, request: EmbeddingRequest, raw_request_info: Any = None) -> AsyncIterator[Any]:
        """Vectors for texts."""
        try:
            await self._until_going()
            prompts = self._prompts(request.input)
            for prompt in prompts:
                self._room(prompt, for_text=False)
        except RequestError as error:
            yield ErrorResponse.of(error.status, str(error))
            return
        vectors = await self._engine.embed(prompts)
        data = [
            {"object": "embedding", "index": index, "embedding": encoded(vector, request)}
            for index, vector in enumerate(vectors)
        ]
        usage = usage_of(sum(len(prompt) for prompt in prompts), 0)
        yield EmbeddingResponse(model=request.model or self._config.model_id, data=data, usage=usage)

    async def tokenize(self, request: TokenizeRequest, raw_request_info: Any = None) -> AsyncIterator[Any]:
        """A text's tokens."""
        tokens = self._tokens(request.prompt, request.add_special_tokens)
        yield TokenizeResponse(count=len(tokens), max_model_len=self._engine.max_context, tokens=tokens)

    async def detokenize(
        self, request: DetokenizeRequest, raw_request_info: Any = None
    ) -> AsyncIterator[Any]:
        """The text of some tokens."""
        yield DetokenizeResponse(prompt=self._text(request.tokens))

    # ---- life ----

    async def start(self) -> None:
        """Nothing is left to do: the constructor has loaded the model."""
        await self._engine.check_health()

    async def llm_config(self) -> LLMConfig:
        """The config that this serves."""
        return self._config

    def __del__(self) -> None:
        engine = getattr(self, "_engine", None)
        if engine is not None:
            engine.stop()

    # ---- how ----

    async def _until_going(self) -> None:
        await self._going.wait()

    async def _begin(self, request: Any) -> str:
        """Wait for leave, and have the adapter loaded that the request asks for; gives its name."""
        await self._until_going()
        if not self._engine.can_generate:
            raise RequestError(
                400, f"The model {self._config.model_id!r} makes no text; it has embeddings only."
            )
        name = request_context.get().model_id or request.model or ""
        adapter = name.partition(":")[2]
        if not adapter:
            return ""
        try:
            return str(await self._adapters.get(name))
        except (OSError, ValueError) as error:
            raise RequestError(404, f"The model {name!r} does not exist: {error}") from None

    async def _load_adapter(self, name: str) -> str:
        """Have the adapter of ``model:adapter`` ready in the engine, by that name."""
        place = self._config.adapter_place(name.partition(":")[2])
        lora = self._config.lora_config
        assert lora is not None, "adapter_place() refuses names where there are no adapters"
        download = asyncio.to_thread(self._download, place, max(1, lora.max_download_tries))
        await self._engine.load_adapter(name, await asyncio.wait_for(download, lora.download_timeout_s))
        return name

    def _chat_prompt(self, messages: list[dict[str, Any]]) -> list[int]:
        plain = [{**message, "content": content_of(message)} for message in messages]
        tokenizer = self._engine.tokenizer
        if getattr(tokenizer, "chat_template", None):
            try:
                text = tokenizer.apply_chat_template(plain, tokenize=False, add_generation_prompt=True)
            except Exception as error:
                raise RequestError(400, f"The model's chat template refuses the messages: {error}") from None
            return self._tokens(text, special=False)
        lines = [f"{message.get('role', 'user')}: {message['content']}" for message in plain]
        return self._tokens("\n".join([*lines, "assistant:"]))

    def _prompts(self, given: Any) -> list[list[int]]:
        if isinstance(given, str):
            found = [self._tokens(given)]
        elif given and isinstance(given[0], int):
            found = [list(given)]
        else:
            found = [self._tokens(each) if isinstance(each, str) else list(each) for each in given]
        if not found or not all(found):
            raise RequestError(400, "A prompt is empty.")
        most = len(self._engine.tokenizer)
        if any(not 0 <= token < most for prompt in found for token in prompt):
            raise RequestError(400, f"A token id is outside of the model's vocabulary of {most}.")
        return found

    def _tokens(self, text: str, special: bool = True) -> list[int]:
        return list(self._engine.tokenizer.encode(text, add_special_tokens=special))

    def _text(self, tokens: list[int]) -> str:
        return str(self._engine.tokenizer.decode(tokens, skip_special_tokens=True))

    def _room(self, prompt: list[int], for_text: bool = True) -> int:
        """Tokens that the context has left after a prompt."""
        left = int(self._engine.max_context) - len(prompt)
        if left < (1 if for_text else 0):
            raise RequestError(
                400,
                f"This model's maximum context length is {self._engine.max_context} tokens, but the prompt has "
                f"{len(prompt)}. Please shorten it.",
            )
        return left

    async def _chat_events(
        self, request: ChatCompletionRequest, name: str, runs: list[Any], read: int
    ) -> AsyncIterator[str]:
        facts: dict[str, Any] = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": name,
        }

        def event(index: int, delta: dict[str, Any], why: str | None) -> str:
            choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": why}
            return sse(ChatCompletionStreamResponse(**facts, choices=[choice]))

        for index in range(len(runs)):
            yield event(index, {"role": "assistant", "content": ""}, None)
        made = 0
        async for index, piece in merged(runs):
            made += piece.tokens
            if piece.text or piece.finish_reason:
                yield event(index, {"content": piece.text} if piece.text else {}, piece.finish_reason)
        if request.wants_usage():
            yield sse(ChatCompletionStreamResponse(**facts, choices=[], usage=usage_of(read, made)))
        yield "data: [DONE]\n\n"

    async def _completion_events(
        self, request: CompletionRequest, name: str, runs: list[Any], first: list[str], read: int
    ) -> AsyncIterator[str]:
        facts: dict[str, Any] = {"id": f"cmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": name}
        made = 0
        async for index, piece in merged(runs):
            made += piece.tokens
            text, first[index] = first[index] + piece.text, ""
            if text or piece.finish_reason:
                choice = {
                    "index": index,
                    "text": text,
                    "logprobs": None,
                    "finish_reason": piece.finish_reason,
                }
                yield sse(CompletionStreamResponse(**facts, choices=[choice]))
        if request.wants_usage():
            yield sse(CompletionStreamResponse(**facts, choices=[], usage=usage_of(read, made)))
        yield "data: [DONE]\n\n"
