"""What processors and their stages are told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pydantic

from narke.data.datasource.media import needed

Concurrency = int | tuple[int, int]


class _Config(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(
        protected_namespaces=(), extra="forbid", arbitrary_types_allowed=True, validate_assignment=True
    )

    @classmethod
    def parse_yaml(cls, file: Any, **kwargs: Any) -> Any:
        """The configuration that an open YAML file (or text) holds; `kwargs` are those of `yaml.load`."""
        yaml = needed("yaml", "pyyaml", "reading YAML")
        return cls.model_validate(yaml.load(file, **{"Loader": yaml.SafeLoader, **kwargs}))

    @classmethod
    def from_file(cls, path: str, **kwargs: Any) -> Any:
        """The configuration that a YAML file holds."""
        with open(path) as file:
            return cls.parse_yaml(file, **kwargs)


class StageConfig(_Config):
    """Of one stage: whether it runs, and in what; None takes the processor's.

    Args:
        enabled: whether it runs. batch_size: rows of a batch. concurrency: actors, or (least, most).
        runtime_env, num_cpus, memory: of each actor.
    """

    enabled: bool = True
    batch_size: int | None = None
    concurrency: Concurrency | None = None
    runtime_env: dict[str, Any] | None = None
    num_cpus: float | None = None
    memory: float | None = None


class _OfModel(StageConfig):
    model_source: str | None = None


class ChatTemplateStageConfig(_OfModel):
    """From "messages" to "prompt", by the template of a model, or `chat_template` (Jinja) with its own arguments."""

    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class TokenizerStageConfig(_OfModel):
    """From "prompt" to "tokenized_prompt", by the tokenizer of `model_source`."""


class DetokenizeStageConfig(_OfModel):
    """From "generated_tokens" to "generated_text", by the tokenizer of `model_source`."""


class HttpRequestStageConfig(StageConfig):
    """From "payload" to "http_response"."""


class PrepareMultimodalStageConfig(StageConfig):
    """Takes the images out of "messages", as arrays in "multimodal_data".

    Args:
        model_config_kwargs: accepted for Ray's programs; images are decoded alike for all models.
        chat_template_content_format: "string" leaves the texts of a message as one text; "openai" as a list of parts.
        apply_sys_msg_formatting: system messages become lists of parts, too, in the format "openai".
    """

    model_config_kwargs: dict[str, Any] | None = None
    chat_template_content_format: str = "string"
    apply_sys_msg_formatting: bool = False


class ProcessorConfig(_Config):
    """Of a processor: rows of a batch, type of accelerator, actors (or least and most)."""

    batch_size: int = 32
    accelerator_type: str | None = None
    concurrency: Concurrency = 1

    @pydantic.field_validator("concurrency")
    @classmethod
    def validate_concurrency(cls, concurrency: Concurrency) -> Concurrency:
        """Refuses numbers below 1, and a least above the most."""
        low, high = concurrency if isinstance(concurrency, tuple) else (concurrency, concurrency)
        if not 1 <= low <= high:
            raise ValueError(f"concurrency must be 1 or more, or (least, most), not {concurrency}")
        return concurrency

    def get_concurrency(self, autoscaling_enabled: bool = True) -> dict[str, int]:
        """Arguments of `ActorPoolStrategy`: a number n is a pool of 1 to n when it may scale, else of n."""
        if isinstance(self.concurrency, tuple):
            return {"min_size": self.concurrency[0], "max_size": self.concurrency[1]}
        if autoscaling_enabled:
            return {"min_size": 1, "max_size": self.concurrency}
        return {"size": self.concurrency}


class HttpRequestProcessorConfig(ProcessorConfig):
    """Sends each row's "payload" to a server.

    Args:
        url: where to. headers: of each request. qps: most requests a second of each actor.
        max_retries: after connections that fail and answers that ask for patience (408, 429, 502, 503, 504).
        base_retry_wait_time_in_s: seconds before the first of them; doubles each time.
        session_factory: makes an `aiohttp.ClientSession`. http_request_stage: a `HttpRequestStageConfig`, or dict.
    """

    batch_size: int = 64
    url: str
    headers: dict[str, Any] | None = None
    qps: int | None = None
    max_retries: int = 0
    base_retry_wait_time_in_s: float = 1
    session_factory: Any = None
    http_request_stage: Any = True


class ServeDeploymentProcessorConfig(ProcessorConfig):
    """Calls a deployment with each row's "request_kwargs".

    Args:
        deployment_name, app_name: which. dtype_mapping: classes of requests by the name in the row's "dtype".
        should_continue_on_error: rows that fail get "__inference_error__". request_timeout_s: longest wait for an
            answer.
    """

    deployment_name: str
    app_name: str = "default"
    dtype_mapping: dict[str, Any] | None = None
    should_continue_on_error: bool = False
    request_timeout_s: float | None = None


class OfflineProcessorConfig(ProcessorConfig):
    """Of an engine that runs in the actors.

    Args:
        model_source: name or folder of a model. runtime_env: of the actors.
        max_pending_requests: accepted for Ray's programs; an engine is given one batch at a time by each call.
        max_concurrent_batches: batches that an actor works on at once. max_tasks_in_flight_per_actor: blocks queued
            there.
        should_continue_on_error: rows that fail get "__inference_error__".
        chat_template_stage, tokenize_stage, detokenize_stage, prepare_multimodal_stage: whether, or how (see the
            classes).
        engine_kwargs: of the engine. task_type: what it does.
    """

    model_source: str
    runtime_env: dict[str, Any] | None = None
    max_pending_requests: int | None = None
    max_concurrent_batches: int = 8
    max_tasks_in_flight_per_actor: int | None = None
    should_continue_on_error: bool = False
    chat_template_stage: Any = True
    tokenize_stage: Any = True
    detokenize_stage: Any = True
    prepare_multimodal_stage: Any = False
    engine_kwargs: dict[str, Any] = pydantic.Field(default_factory=dict)
    task_type: str = "generate"

    @pydantic.field_validator("task_type")
    @classmethod
    def validate_task_type(cls, values: str) -> str:
        """Refuses what the engine does not do."""
        if values not in cls.task_types():
            raise ValueError(f"task_type must be one of {sorted(cls.task_types())}, not {values!r}")
        return values

    @classmethod
    def task_types(cls) -> set[str]:
        """What the engine does."""
        return {"generate"}


class SGLangEngineProcessorConfig(OfflineProcessorConfig):
    """Runs SGLang."""


class vLLMEngineProcessorConfig(OfflineProcessorConfig):
    """Runs vLLM.

    Args:
        log_engine_metrics: let the engine log its own figures. dynamic_lora_loading_path: folder of adapters, which
            rows
            name by "model". placement_group_config: {"bundles": [...], "strategy": ...} that each actor runs in.
    """

    log_engine_metrics: bool = True
    dynamic_lora_loading_path: str | None = None
    placement_group_config: dict[str, Any] | None = None

    @pydantic.field_validator("placement_group_config")
    @classmethod
    def validate_placement_group_config(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        """Refuses one without bundles."""
        if value is not None and not value.get("bundles"):
            raise ValueError("placement_group_config needs bundles: a list of dicts of resources")
        return value

    @classmethod
    def task_types(cls) -> set[str]:
        return {"generate", "embed", "classify", "score"}


def stage_config(given: Any, kind: Callable[..., StageConfig]) -> StageConfig:
    """The configuration that True, False, a dict or a configuration of a stage means."""
    if isinstance(given, StageConfig):
        return given
    return kind(**given) if isinstance(given, dict) else kind(enabled=bool(given))
