"""vLLM behind the same face as `TransformersEngine`, where it is installed and a GPU is there."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Any

from narke.serve.llm._private.sampling import Piece, Sampling

__all__ = ["VLLMEngine"]


class VLLMEngine:
    """Hands requests to vLLM's own scheduler.

    Attributes:
        max_context, can_generate, tokenizer: as `TransformersEngine` has them.
    """

    can_generate = True

    def __init__(self, source: str, tokenizer_source: str | None, options: dict[str, Any]) -> None:
        import transformers
        from vllm import AsyncEngineArgs, AsyncLLMEngine

        options = dict(options)
        template = options.pop("chat_template", None)
        arguments = AsyncEngineArgs(model=source, tokenizer=tokenizer_source or source, **options)
        self._engine = AsyncLLMEngine.from_engine_args(arguments)
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            tokenizer_source or source, trust_remote_code=bool(options.get("trust_remote_code", False))
        )
        if template:
            self.tokenizer.chat_template = template
        self.hf_config: Any = transformers.AutoConfig.from_pretrained(source)
        longest = getattr(self.hf_config, "max_position_embeddings", 2048)
        self.max_context = options.get("max_model_len") or longest
        self.call = self._engine.collective_rpc
        self.reset_prefix_cache = self._engine.reset_prefix_cache
        self.sleep, self.wake_up = self._engine.sleep, self._engine.wake_up
        self.start_profile, self.stop_profile = self._engine.start_profile, self._engine.stop_profile
        self._adapters: dict[str, tuple[int, str]] = {}
        self._numbers = 0

    async def generate(
        self,
        prompt: list[int],
        sampling: Sampling,
        adapter: str = "",
        prefilled: dict[str, Any] | None = None,
    ) -> AsyncIterator[Piece]:
        """The text that follows a prompt, in parts; `prefilled` is what another replica's `prefill` gave."""
        params = self._params(sampling, prefilled)
        text, tokens = "", 0
        async for out in self._outputs(prompt, params, adapter):
            made = out.outputs[0]
            yield Piece(made.text[len(text) :], len(made.token_ids) - tokens, made.finish_reason)
            text, tokens = made.text, len(made.token_ids)

    async def prefill(self, prompt: list[int], adapter: str = "") -> dict[str, Any]:
        """Read a prompt; what vLLM's connector needs to fetch its keys and values (docs.vllm.ai)."""
        wanted = {"do_remote_decode": True, "do_remote_prefill": False}
        params = self._params(Sampling(max_tokens=1), wanted)
        last = None
        async for out in self._outputs(prompt, params, adapter):
            last = out
        given = getattr(last, "kv_transfer_params", None)
        if given is None:
            raise RuntimeError("vLLM gave no kv_transfer_params: set kv_transfer_config of engine_kwargs")
        return dict(given)

    def _outputs(self, prompt: list[int], params: Any, adapter: str) -> AsyncIterator[Any]:
        from vllm.lora.request import LoRARequest

        number, folder = self._adapters.get(adapter, (0, ""))
        lora = LoRARequest(adapter, number, folder) if adapter else None
        given = {"prompt_token_ids": prompt}
        return self._engine.generate(given, params, uuid.uuid4().hex, lora_request=lora)  # type: ignore[no-any-return]

    def _params(self, sampling: Sampling, transfer: dict[str, Any] | None) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k or -1,
            presence_penalty=sampling.presence_penalty,
            frequency_penalty=sampling.frequency_penalty,
            stop=list(sampling.stop) or None,
            seed=sampling.seed,
            ignore_eos=sampling.ignore_eos,
            extra_args={"kv_transfer_params": transfer} if transfer else None,
        )

    async def score(self, first: list[str], second: list[str]) -> list[float]:
        """The cosine of the embeddings of pairs of texts."""
        sides = [await self.embed([self.tokenizer.encode(text) for text in side]) for side in (first, second)]
        return [_cosine(a, b) for a, b in zip(*sides, strict=True)]

    def figures(self) -> dict[str, float]:
        """Nothing: vLLM tells its numbers to Prometheus."""
        return {}

    async def embed(self, prompts: list[list[int]]) -> list[list[float]]:
        """Each prompt's embedding."""
        found = []
        for prompt in prompts:
            from vllm import PoolingParams

            last = None
            async for out in self._engine.encode(
                {"prompt_token_ids": prompt}, PoolingParams(), uuid.uuid4().hex
            ):
                last = out
            assert last is not None, "the engine gave no embedding"
            found.append(last.outputs.data.float().tolist())
        return found

    async def load_adapter(self, name: str, folder: str) -> None:
        """Have a LoRA adapter ready under a name."""
        if name not in self._adapters:
            self._numbers += 1
            self._adapters[name] = (self._numbers, folder)

    async def drop_adapter(self, name: str) -> None:
        """Forget an adapter."""
        self._adapters.pop(name, None)

    async def check_health(self) -> None:
        """Raise if the engine does not run any more."""
        await self._engine.check_health()

    def stop(self) -> None:
        """End the engine."""
        self._engine.shutdown()


def _cosine(a: list[float], b: list[float]) -> float:
    product = sum(x * y for x, y in zip(a, b, strict=True))
    return product / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5
