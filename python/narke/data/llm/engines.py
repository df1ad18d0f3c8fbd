"""Stages that run a model in the actor: vLLM and SGLang, which must be installed there."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from narke.data.datasource.media import needed
from narke.data.llm.stages import ERROR, Rows


class Engine:
    """Base of stages with an engine: from "prompt" (and "tokenized_prompt", "sampling_params") to what it gives.

    Args:
        model: name or folder. engine_kwargs: of the engine. task: what it does. go_on: rows that fail get an error.
    """

    reads = ("prompt",)

    def __init__(self, model: str, engine_kwargs: dict[str, Any], task: str, go_on: bool):
        self._task, self._go_on = task, go_on
        self._engine = self._started(model, dict(engine_kwargs))

    def _started(self, model: str, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def _results(self, rows: Rows) -> list[dict[str, Any]]:
        """What the engine makes of rows."""
        raise NotImplementedError

    def __call__(self, rows: Rows) -> Rows:
        try:
            made = self._results(rows)
        except (ValueError, TypeError) as error:
            if not self._go_on:
                raise
            if len(rows) == 1:
                return [{ERROR: f"{type(error).__name__}: {error}"}]
            return [one for row in rows for one in self([row])]
        return [{**one, ERROR: ""} for one in made] if self._go_on else made


class Vllm(Engine):
    """vLLM's engine for batches."""

    def __init__(self, log_figures: bool, adapters: str | None, **kwargs: Any):
        self._log_figures, self._adapters = log_figures, adapters
        super().__init__(**kwargs)

    def _started(self, model: str, options: dict[str, Any]) -> Any:
        self._vllm = needed("vllm", "vllm", "a vLLMEngineProcessorConfig")
        if self._adapters is not None:
            options.setdefault("enable_lora", True)
        return self._vllm.LLM(model=model, disable_log_stats=not self._log_figures, **options)

    def _results(self, rows: Rows) -> list[dict[str, Any]]:
        prompts = [self._prompt(row) for row in rows]
        if self._task == "embed":
            return [{"embeddings": np.asarray(one.outputs.embedding)} for one in self._engine.embed(prompts)]
        if self._task == "classify":
            return [{"probs": np.asarray(one.outputs.probs)} for one in self._engine.classify(prompts)]
        if self._task == "score":
            pairs = zip(rows, prompts, strict=True)
            return [{"score": self._engine.score(p["prompt"], r["query"])[0].outputs.score} for r, p in pairs]
        params = [self._vllm.SamplingParams(**_given(row.get("sampling_params"))) for row in rows]
        return [
            _generated(one)
            for one in self._engine.generate(prompts, params, lora_request=self._adapter_of(rows))
        ]

    def _prompt(self, row: dict[str, Any]) -> dict[str, Any]:
        tokens = row.get("tokenized_prompt")
        prompt: dict[str, Any] = {"prompt": row["prompt"]}
        if tokens is not None:
            prompt = {"prompt": row["prompt"], "prompt_token_ids": list(tokens)}
        images = (row.get("multimodal_data") or {}).get("image")
        return {**prompt, "multi_modal_data": {"image": images}} if images else prompt

    def _adapter_of(self, rows: Rows) -> Any:
        if self._adapters is None:
            return None
        request = needed("vllm.lora.request", "vllm", "adapters").LoRARequest
        names = [row.get("model") for row in rows]
        known = {name: place for place, name in enumerate(dict.fromkeys(n for n in names if n), 1)}
        return [request(n, known[n], os.path.join(self._adapters, n)) if n else None for n in names]


def _given(params: Any) -> dict[str, Any]:
    return {name: value for name, value in dict(params or {}).items() if value is not None}


def _generated(made: Any) -> dict[str, Any]:
    first = made.outputs[0]
    return {
        "generated_text": first.text,
        "generated_tokens": list(first.token_ids),
        "num_input_tokens": len(made.prompt_token_ids),
        "num_generated_tokens": len(first.token_ids),
        "finish_reason": first.finish_reason,
    }


class SGLang(Engine):
    """SGLang's engine."""

    def _started(self, model: str, options: dict[str, Any]) -> Any:
        return needed("sglang", "sglang", "an SGLangEngineProcessorConfig").Engine(
            model_path=model, **options
        )

    def _results(self, rows: Rows) -> list[dict[str, Any]]:
        params = [_given(row.get("sampling_params")) for row in rows]
        if all(row.get("tokenized_prompt") is not None for row in rows):
            given = {"input_ids": [list(row["tokenized_prompt"]) for row in rows]}
        else:
            given = {"prompt": [row["prompt"] for row in rows]}
        found = self._engine.generate(**given, sampling_params=params)
        return [_of_sglang(one) for one in found]


def _of_sglang(made: dict[str, Any]) -> dict[str, Any]:
    about = made["meta_info"]
    return {
        "generated_text": made["text"],
        "generated_tokens": list(made.get("output_ids", [])),
        "num_input_tokens": about["prompt_tokens"],
        "num_generated_tokens": about["completion_tokens"],
    }
