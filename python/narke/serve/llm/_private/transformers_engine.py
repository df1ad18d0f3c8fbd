"""Models of transformers on CPU (or one GPU): requests run together, joining and leaving at every token."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import logging
import os
import queue
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import torch

from narke.serve.llm._private.batch import Batch
from narke.serve.llm._private.prefixes import PrefixCache
from narke.serve.llm._private.sampling import Piece, Sampling, choose
from narke.serve.llm._private.text import TextStream

__all__ = ["Prefilled", "TransformersEngine"]

logger = logging.getLogger("ray.serve")
_BASE = ""  # the model without an adapter
_MOST_SEQUENCES = 32
_LOOK_AGAIN_S = 0.01
_CACHED_TOKENS = 16_384  # of prompts, whose keys and values are kept
_OF_GPUS = {  # of vLLM; they say nothing to this engine
    "enable_chunked_prefill",
    "data_parallel_address",
    "data_parallel_rank",
    "data_parallel_rpc_port",
    "data_parallel_size",
    "enable_lora",
    "enforce_eager",
    "gpu_memory_utilization",
    "kv_transfer_config",
    "max_lora_rank",
    "max_loras",
    "max_num_batched_tokens",
    "pipeline_parallel_size",
    "swap_space",
    "task",
    "tensor_parallel_size",
    "tokenizer_pool_size",
    "use_tqdm_on_load",
}


@dataclasses.dataclass
class Prefilled:
    """A prompt that another replica has read.

    Attributes:
        layers: keys and values (heads, positions, size) of each layer.
        logits: of the first token (1, vocabulary).
    """

    layers: list[tuple[Any, Any]]
    logits: Any


@dataclasses.dataclass
class _Row:
    """One text under way."""

    prompt: list[int]
    sampling: Sampling
    adapter: str
    tell: Callable[[Piece | BaseException], None]
    text: TextStream
    generator: Any
    prefilled: Prefilled | None = None
    counts: dict[int, int] = dataclasses.field(default_factory=dict)
    made: int = 0
    last: int = 0
    is_cancelled: bool = False


class TransformersEngine:
    """Runs one model on a thread of its own.

    Attributes:
        max_context: tokens that a prompt and its text may have together.
        can_generate: it makes text; otherwise it only gives embeddings, or scores.
        hf_config: the model's own config.
        tokenizer: the model's.
    """

    def __init__(
        self, source: str, tokenizer_source: str | None, options: dict[str, Any], threads: int = 1
    ) -> None:
        import transformers

        known = {
            *("max_model_len", "dtype", "max_num_seqs", "trust_remote_code", "chat_template", "seed"),
            "enable_prefix_caching",
        }
        if unknown := set(options) - known - _OF_GPUS:
            raise ValueError(
                f"engine_kwargs {sorted(unknown)} are not known to this engine; it knows {sorted(known)}"
            )
        remote = bool(options.get("trust_remote_code", False))
        self.hf_config: Any = transformers.AutoConfig.from_pretrained(source, trust_remote_code=remote)
        architecture = (getattr(self.hf_config, "architectures", None) or [""])[0]
        self.can_generate = architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration"))
        self._is_judge = architecture.endswith("ForSequenceClassification")
        kind: Any = transformers.AutoModelForCausalLM if self.can_generate else transformers.AutoModel
        if self._is_judge:
            kind = transformers.AutoModelForSequenceClassification
        dtype = options.get("dtype", "auto")
        self._load = lambda: kind.from_pretrained(source, dtype=dtype, trust_remote_code=remote).eval()
        self._model: Any = self._load()
        self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(
            tokenizer_source or source, trust_remote_code=remote
        )
        if options.get("chat_template"):
            self.tokenizer.chat_template = options["chat_template"]
        limits = [options.get("max_model_len"), getattr(self.hf_config, "max_position_embeddings", None)]
        self.max_context = min((limit for limit in limits if limit), default=2048)
        ends = getattr(getattr(self._model, "generation_config", None), "eos_token_id", None)
        self._ends = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        self._most = int(options.get("max_num_seqs") or _MOST_SEQUENCES)
        self._threads = threads
        self._adapters: dict[str, str] = {}  # their names in the model
        self._folders: dict[str, str] = {}
        self._prefixes = PrefixCache(_CACHED_TOKENS if options.get("enable_prefix_caching", True) else 0)
        self._profile: Any = None
        self._unwanted: set[str] = set()  # to be dropped once nothing runs with them
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._numbers = 0
        self._waiting: list[_Row] = []
        self._batches: dict[str, Batch] = {}
        self._thread = threading.Thread(target=self._run, name="llm-engine", daemon=True)
        self._thread.start()
        if options.get("seed") is not None:
            torch.manual_seed(int(options["seed"]))

    # ---- for the replica's event loop ----

    async def generate(
        self, prompt: list[int], sampling: Sampling, adapter: str = "", prefilled: Prefilled | None = None
    ) -> AsyncIterator[Piece]:
        """The text that follows a prompt, in parts.

        Args:
            prompt: token ids; at least one, and fewer than `max_context`.
            adapter: one that `load_adapter` loaded; "": none.
            prefilled: what another replica's `prefill` gave for the prompt and the adapter.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[Piece | BaseException] = asyncio.Queue()

        def tell(piece: Piece | BaseException) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        generator = None
        if sampling.seed is not None:
            generator = torch.Generator().manual_seed(sampling.seed)
        text = TextStream(self._decode, sampling.stop)
        row = _Row(prompt, sampling, adapter, tell, text, generator, prefilled)
        self._work.put(lambda: self._waiting.append(row))
        try:
            while True:
                piece = await pieces.get()
                if isinstance(piece, BaseException):
                    raise piece
                yield piece
                if piece.finish_reason is not None:
                    return
        finally:
            row.is_cancelled = True

    async def prefill(self, prompt: list[int], adapter: str = "") -> Prefilled:
        """Read a prompt for another replica, which goes on with `generate`."""
        return await self._ask(lambda: self._prefill(prompt, adapter))  # type: ignore[no-any-return]

    async def score(self, first: list[str], second: list[str]) -> list[float]:
        """How well pairs of texts fit: 0 to 1 by a model that judges pairs, else the cosine of their embeddings."""
        return await self._ask(lambda: self._score(first, second))  # type: ignore[no-any-return]

    async def embed(self, prompts: list[list[int]]) -> list[list[float]]:
        """Each prompt's embedding: the mean of the last layer's states, of length 1."""
        return await self._ask(lambda: self._embed(prompts))  # type: ignore[no-any-return]

    async def load_adapter(self, name: str, folder: str) -> None:
        """Have a LoRA adapter (files of peft) ready under a name.

        Raises:
            OSError, ValueError: there is none in that folder, or it does not fit the model.
        """
        await self._ask(lambda: self._load_adapter(name, folder))

    async def drop_adapter(self, name: str) -> None:
        """Forget an adapter."""
        self._work.put(lambda: self._unwanted.add(name))

    async def check_health(self) -> None:
        """Raise if the engine does not run any more."""
        if not self._thread.is_alive():
            raise RuntimeError("the engine's thread has ended")

    def figures(self) -> dict[str, float]:
        """What routers may know: texts that run and wait; tokens of all prompts, and those that were known already."""
        running = sum(len(batch.rows) for batch in self._batches.values())
        cache = self._prefixes
        return {
            "running": running,
            "waiting": len(self._waiting),
            "prompt_tokens": cache.asked,
            "prompt_tokens_known": cache.found,
        }

    async def reset_prefix_cache(self) -> None:
        """Forget what was read of prompts."""
        await self._ask(self._prefixes.clear)

    async def sleep(self, level: int = 1) -> None:
        """Give memory back once nothing runs any more: what was read of prompts; from level 2 on the model, too."""
        while not await self._ask(lambda: self._fall_asleep(level)):
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def wake_up(self) -> None:
        """Have the model again."""
        await self._ask(self._awake)

    async def call(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """What a method of the model gives, or a function of it, between two steps; one result: there is one worker."""
        return [await self._ask(lambda: self._call(method, args, kwargs))]

    async def start_profile(self) -> None:
        """Record what the engine's thread does."""
        await self._ask(self._start_profile)

    async def stop_profile(self) -> str:
        """End that; gives the file of the trace, in VLLM_TORCH_PROFILER_DIR or where temporary files are."""
        return await self._ask(self._stop_profile)  # type: ignore[no-any-return]

    def stop(self) -> None:
        """End the engine; what runs ends in an error."""
        self._work.put(None)

    async def _ask(self, function: Callable[[], Any]) -> Any:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()

        def settle(value: Any, error: BaseException | None) -> None:
            if not answer.done():
                answer.set_exception(error) if error is not None else answer.set_result(value)

        def run() -> None:
            value, problem = None, None
            try:
                value = function()
            except Exception as error:  # told to who asked
                problem = error
            loop.call_soon_threadsafe(settle, value, problem)

        self._work.put(run)
        return await answer

    # ---- on the engine's thread ----

    def _run(self) -> None:
        torch.set_num_threads(self._threads)  # of this thread; more than there are CPUs wait for each other
        with torch.inference_mode():
            while self._take_work():
                try:
                    self._turn()
                except Exception as error:
                    logger.exception("The engine could not take a step; the texts under way end in an error.")
                    self._fail_all(error)
        self._fail_all(RuntimeError("the engine was stopped"))

    def _take_work(self) -> bool:
        is_busy = bool(self._waiting) or any(batch.rows for batch in self._batches.values())
        while True:
            try:
                work = self._work.get(block=not is_busy)
            except queue.Empty:
                return True
            if work is None:
                return False
            work()
            is_busy = True

    def _fail_all(self, error: BaseException) -> None:
        for row in [*self._waiting, *(row for batch in self._batches.values() for row in batch.rows)]:
            row.tell(error)
        self._waiting.clear()
        self._batches.clear()

    def _turn(self) -> None:
        for adapter, batch in self._batches.items():
            if batch.rows:
                self._use(adapter)
                self._advance(batch, 0, batch.step())
        running = sum(len(batch.rows) for batch in self._batches.values())
        joining, self._waiting = self._waiting[: self._most - running], self._waiting[self._most - running :]
        for adapter in {row.adapter for row in joining}:
            rows = [row for row in joining if row.adapter == adapter and not row.is_cancelled]
            if adapter != _BASE and adapter not in self._adapters:
                for row in rows:
                    row.tell(RuntimeError(f"the adapter {adapter!r} gave way to others: ask again"))
                continue
            if not rows:
                continue
            batch = self._batches.setdefault(adapter, Batch(self._model))
            self._use(adapter)
            self._admit(batch, rows)
        self._batches = {adapter: batch for adapter, batch in self._batches.items() if batch.rows}
        self._drop_unwanted()

    def _admit(self, batch: Batch, rows: list[_Row]) -> None:
        """Have rows join; those whose prompt's beginning is known one by one, the others together."""
        fresh = []
        for row in rows:
            done = row.prefilled
            known = done.layers if done is not None else self._prefixes.match(row.adapter, row.prompt)
            if known is None:
                fresh.append(row)
            else:
                logits = batch.admit_known(row, known, done.logits if done is not None else None)
                self._joined(batch, [row], logits)
        if fresh:
            self._joined(batch, fresh, batch.admit(fresh))

    def _joined(self, batch: Batch, rows: list[_Row], logits: Any) -> None:
        first = len(batch.rows) - len(rows)
        for place, row in enumerate(rows, first):
            self._prefixes.put(row.adapter, row.prompt, batch.layers_of(place))
        self._advance(batch, first, logits)

    def _prefill(self, prompt: list[int], adapter: str) -> Prefilled:
        if adapter != _BASE and adapter not in self._adapters:
            raise RuntimeError(f"the adapter {adapter!r} gave way to others: ask again")
        self._use(adapter)
        batch = Batch(self._model)
        row = _Row(prompt, Sampling(), adapter, lambda piece: None, TextStream(self._decode, ()), None)
        known = self._prefixes.match(adapter, prompt)
        logits = batch.admit([row]) if known is None else batch.admit_known(row, known)
        layers = [(keys.contiguous(), values.contiguous()) for keys, values in batch.layers_of(0)]
        self._prefixes.put(adapter, prompt, layers)
        return Prefilled(layers, logits)

    def _score(self, first: list[str], second: list[str]) -> list[float]:
        if not self._is_judge:
            vectors = [
                torch.tensor(self._embed([self.tokenizer.encode(t) for t in side]))
                for side in (first, second)
            ]
            return [float(a @ b) for a, b in zip(*vectors, strict=True)]
        if self.tokenizer.pad_token is None and len(first) > 1:
            return [self._score([a], [b])[0] for a, b in zip(first, second, strict=True)]
        given = self.tokenizer(first, second, padding=len(first) > 1, return_tensors="pt")
        logits = self._model(**given).logits.float()
        likely = logits.sigmoid()[:, 0] if logits.shape[1] == 1 else logits.softmax(-1)[:, -1]
        return likely.tolist()  # type: ignore[no-any-return]

    def _fall_asleep(self, level: int) -> bool:
        if self._waiting or any(batch.rows for batch in self._batches.values()):
            return False
        self._prefixes.clear()
        if level >= 2:
            self._batches.clear()
            self._model = None
            gc.collect()
        return True

    def _awake(self) -> None:
        if self._model is not None:
            return
        self._model = self._load()
        self._adapters.clear()
        for name, folder in self._folders.items():
            self._load_adapter(name, folder)

    def _call(self, method: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._awake()
        if not isinstance(method, str):
            return method(self._model, *args, **kwargs)
        found = getattr(self._model, method, None)
        if not callable(found):
            raise AttributeError(f"{type(self._model).__name__} has no method {method!r}")
        return found(*args, **kwargs)

    def _start_profile(self) -> None:
        if self._profile is not None:
            raise RuntimeError("a profile is being recorded: end it with stop_profile() first")
        self._profile = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])
        self._profile.__enter__()

    def _stop_profile(self) -> str:
        if self._profile is None:
            raise RuntimeError("no profile is being recorded: begin with start_profile()")
        profile, self._profile = self._profile, None
        profile.__exit__(None, None, None)
        folder = os.environ.get("VLLM_TORCH_PROFILER_DIR") or tempfile.gettempdir()
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, f"llm-{os.getpid()}-{time.time_ns()}.json")
        profile.export_chrome_trace(path)
        return path

    def _advance(self, batch: Batch, first: int, logits: Any) -> None:
        """Give each row from place `first` on its next token; rows that have ended leave."""
        going = list(range(first))
        for place, row in enumerate(batch.rows[first:], first):
            if not row.is_cancelled and self._extend(row, logits[place - first]):
                going.append(place)
        batch.keep(going)

    def _extend(self, row: _Row, logits: Any) -> bool:
        """One more token for a row; whether it goes on."""
        token = choose(logits, row.sampling, row.counts, row.generator)
        row.last = token
        row.made += 1
        row.counts[token] = row.counts.get(token, 0) + 1
        if token in self._ends and not row.sampling.ignore_eos:
            row.tell(Piece(row.text.end(), 1, "stop"))
            return False
        text = row.text.add(token)
        is_full = row.made >= row.sampling.max_tokens
        if row.text.is_stopped:
            row.tell(Piece(text, 1, "stop"))
        elif is_full:
            row.tell(Piece(text + row.text.end(), 1, "stop" if row.text.is_stopped else "length"))
        else:
            row.tell(Piece(text, 1))
        return not (row.text.is_stopped or is_full)

    def _decode(self, tokens: list[int]) -> str:
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))

    def _embed(self, prompts: list[list[int]]) -> list[list[float]]:
        width = max(len(prompt) for prompt in prompts)
        ids = torch.zeros((len(prompts), width), dtype=torch.long)
        mask = torch.zeros((len(prompts), width), dtype=torch.long)
        for at, prompt in enumerate(prompts):
            ids[at, : len(prompt)] = torch.tensor(prompt)
            mask[at, : len(prompt)] = 1
        out = self._model(input_ids=ids, attention_mask=mask, output_hidden_states=True)
        weights = mask.unsqueeze(-1)
        means = (out.hidden_states[-1].float() * weights).sum(1) / weights.sum(1)
        return torch.nn.functional.normalize(means, dim=-1).tolist()  # type: ignore[no-any-return]

    def _load_adapter(self, name: str, folder: str) -> None:
        self._unwanted.discard(name)
        self._folders[name] = folder
        if name not in self._adapters:
            self._numbers += 1
            self._model.load_adapter(folder, adapter_name=f"adapter{self._numbers}")
            self._adapters[name] = f"adapter{self._numbers}"

    def _drop_unwanted(self) -> None:
        """Drop what nothing runs with."""
        for name in [name for name in self._unwanted if name not in self._batches]:
            self._unwanted.discard(name)
            self._folders.pop(name, None)
            if name in self._adapters:
                self._model.delete_adapter(self._adapters.pop(name))

    def _use(self, adapter: str) -> None:
        if not self._adapters:
            return
        if adapter == _BASE:
            self._model.disable_adapters()
        else:
            self._model.enable_adapters()
            self._model.set_adapter(self._adapters[adapter])
