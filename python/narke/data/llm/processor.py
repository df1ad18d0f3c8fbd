"""Processors: a chain of stages over a dataset, with a function before and one after."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from narke.data.compute import ActorPoolStrategy
from narke.data.llm import config as configs
from narke.data.llm import engines, stages

logger = logging.getLogger("narke.data")


@dataclasses.dataclass
class Stage:
    """One step: a class over lists of rows, and where it runs.

    Args:
        name: how it is called. cls: built in each actor with `kwargs`; from a list of rows to a list of new columns.
        config: of the stage. options: of its actors. concurrent: batches that an actor works on at once.
    """

    name: str
    cls: Any
    kwargs: dict[str, Any]
    config: configs.StageConfig
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    concurrent: int = 1
    in_flight: int | None = None


class Processor:
    """Made by `build_processor`; called with a dataset, it gives the dataset of results, which runs when it is
    consumed.

    Args:
        config: of the processor. stages: in order. preprocess: from a row to columns that the stages read; columns that
            it does not give stay. postprocess: from a row to the row that comes out. preprocess_map_kwargs,
            postprocess_map_kwargs: of their `Dataset.map`.
    """

    def __init__(
        self,
        config: configs.ProcessorConfig,
        stages: list[Stage],
        preprocess: Callable[[Any], Any] | None = None,
        postprocess: Callable[[Any], Any] | None = None,
        preprocess_map_kwargs: dict[str, Any] | None = None,
        postprocess_map_kwargs: dict[str, Any] | None = None,
    ):
        self.config, self.preprocess, self.postprocess = config, preprocess, postprocess
        self._before, self._after = dict(preprocess_map_kwargs or {}), dict(postprocess_map_kwargs or {})
        self.stages: dict[str, Stage] = {}
        for stage in stages:
            number = sum(other.cls is stage.cls for other in self.stages.values())
            self.stages[stage.name + (f"_{number + 1}" if number else "")] = stage

    def __call__(self, dataset: Any) -> Any:
        """The dataset of results."""
        if self.preprocess is not None:
            dataset = dataset.map(_Prepared(self.preprocess), **self._before)
        for stage in self.stages.values():
            dataset = self._applied(dataset, stage)
        return (
            dataset if self.postprocess is None else dataset.map(_Finished(self.postprocess), **self._after)
        )

    def _applied(self, dataset: Any, stage: Stage) -> Any:
        own = stage.config
        sizes = dict(
            self.config.model_copy(
                update={"concurrency": own.concurrency or self.config.concurrency}
            ).get_concurrency()
        )
        if stage.concurrent > 1:
            sizes["max_concurrent_calls_per_actor"] = stage.concurrent
            sizes["max_tasks_in_flight_per_actor"] = stage.in_flight or 2 * stage.concurrent
        pool = ActorPoolStrategy(**sizes, enable_true_multi_threading=True)
        options = {**stage.options, "runtime_env": own.runtime_env or stage.options.get("runtime_env")}
        options.update(num_cpus=own.num_cpus, memory=own.memory)
        return dataset.map_batches(
            stages.OverRows,
            fn_constructor_args=(stage.cls, stage.kwargs),
            batch_size=own.batch_size or self.config.batch_size,
            compute=pool,
            **{name: value for name, value in options.items() if value is not None},
        )

    def list_stage_names(self) -> list[str]:
        """Names of the stages, in order."""
        return list(self.stages)

    def get_stage_by_name(self, name: str) -> Stage:
        """A stage.

        Raises:
            ValueError: there is none of that name.
        """
        if name not in self.stages:
            raise ValueError(f"there is no stage {name!r}; the stages are {self.list_stage_names()}")
        return self.stages[name]

    def log_input_column_names(self) -> None:
        """Log which columns the first stage reads."""
        first = next(iter(self.stages.values()), None)
        if first is not None:
            logger.info("the first stage, %s, reads the columns %s", first.name, first.cls.reads)


class _Prepared:
    """Adds what the user's function gives to the row."""

    def __init__(self, function: Callable[[Any], Any]):
        self._function, self.__name__ = function, getattr(function, "__name__", "preprocess")

    def __call__(self, row: Any) -> dict[str, Any]:
        return {**row, **self._function(row)}


class _Finished:
    """The user's function over rows that did not fail."""

    def __init__(self, function: Callable[[Any], Any]):
        self._function, self.__name__ = function, getattr(function, "__name__", "postprocess")

    def __call__(self, row: Any) -> dict[str, Any]:
        if row.get(stages.ERROR):
            return dict(row)
        return self._function({name: value for name, value in row.items() if name != stages.ERROR})


def build_processor(
    config: configs.ProcessorConfig,
    preprocess: Callable[[Any], Any] | None = None,
    postprocess: Callable[[Any], Any] | None = None,
    preprocess_map_kwargs: dict[str, Any] | None = None,
    postprocess_map_kwargs: dict[str, Any] | None = None,
    builder_kwargs: dict[str, Any] | None = None,
) -> Processor:
    """The processor of a configuration.

    Args:
        builder_kwargs: of the stages of a configuration's kind; there are none here. The rest: see `Processor`.

    Raises:
        TypeError: the configuration is of no known kind, or builder_kwargs are not known.
    """
    if builder_kwargs:
        raise TypeError(f"build_processor: unknown builder_kwargs {sorted(builder_kwargs)}")
    makers = {
        configs.HttpRequestProcessorConfig: _http,
        configs.ServeDeploymentProcessorConfig: _serve,
        configs.vLLMEngineProcessorConfig: _offline,
        configs.SGLangEngineProcessorConfig: _offline,
    }
    maker: Any = next((make for kind, make in makers.items() if isinstance(config, kind)), None)
    if maker is None:
        raise TypeError(f"there is no processor for a {type(config).__name__}")
    return Processor(
        config, maker(config), preprocess, postprocess, preprocess_map_kwargs, postprocess_map_kwargs
    )


def _http(config: configs.HttpRequestProcessorConfig) -> list[Stage]:
    own = configs.stage_config(config.http_request_stage, configs.HttpRequestStageConfig)
    names = ("url", "headers", "qps", "max_retries", "base_retry_wait_time_in_s", "session_factory")
    return [
        Stage("HttpRequestStage", stages.HttpRequests, {name: getattr(config, name) for name in names}, own)
    ]


def _serve(config: configs.ServeDeploymentProcessorConfig) -> list[Stage]:
    names = ("deployment_name", "app_name", "dtype_mapping", "should_continue_on_error", "request_timeout_s")
    kwargs = {name: getattr(config, name) for name in names}
    return [Stage("ServeDeploymentStage", stages.ServeRequests, kwargs, configs.StageConfig())]


def _offline(config: configs.OfflineProcessorConfig) -> list[Stage]:
    """Image, template, tokens, engine and text stages, those that are enabled."""
    made = []
    image: Any = configs.stage_config(config.prepare_multimodal_stage, configs.PrepareMultimodalStageConfig)
    if image.enabled:
        kwargs = {
            "content_format": image.chat_template_content_format,
            "system_too": image.apply_sys_msg_formatting,
        }
        made.append(Stage("PrepareMultimodalStage", stages.TakeImages, kwargs, image))
    template: Any = configs.stage_config(config.chat_template_stage, configs.ChatTemplateStageConfig)
    if template.enabled:
        kwargs = {"template": template.chat_template, "template_kwargs": template.chat_template_kwargs}
        made.append(
            Stage("ChatTemplateStage", stages.ChatTemplates, {**_model(config, template), **kwargs}, template)
        )
    tokens = configs.stage_config(config.tokenize_stage, configs.TokenizerStageConfig)
    if tokens.enabled:
        made.append(Stage("TokenizeStage", stages.Tokens, _model(config, tokens), tokens))
    made.append(_engine(config))
    texts = configs.stage_config(config.detokenize_stage, configs.DetokenizeStageConfig)
    if texts.enabled:
        made.append(Stage("DetokenizeStage", stages.Texts, _model(config, texts), texts))
    return made


def _model(config: configs.OfflineProcessorConfig, stage: Any) -> dict[str, Any]:
    return {"model": stage.model_source or config.model_source}


def _engine(config: configs.OfflineProcessorConfig) -> Stage:
    options: dict[str, Any] = {"runtime_env": config.runtime_env, "accelerator_type": config.accelerator_type}
    if config.accelerator_type is not None:
        options["num_gpus"] = config.engine_kwargs.get("tensor_parallel_size", 1)
    kwargs = {
        "model": config.model_source,
        "engine_kwargs": config.engine_kwargs,
        "task": config.task_type,
        "go_on": config.should_continue_on_error,
    }
    is_vllm = isinstance(config, configs.vLLMEngineProcessorConfig)
    if isinstance(config, configs.vLLMEngineProcessorConfig):
        kwargs.update(log_figures=config.log_engine_metrics, adapters=config.dynamic_lora_loading_path)
    name, cls = ("vLLMEngineStage", engines.Vllm) if is_vllm else ("SGLangEngineStage", engines.SGLang)
    concurrent = 1 if is_vllm else config.max_concurrent_batches  # vLLM's engine for batches has one caller
    return Stage(
        name, cls, kwargs, configs.StageConfig(), options, concurrent, config.max_tasks_in_flight_per_actor
    )
