"""From configs to applications."""

from __future__ import annotations

import re
from typing import Any

from narke.serve.config import import_attr
from narke.serve.deployment import Application
from narke.serve.llm.configs import DPServingArgs, LLMConfig, LLMServingArgs, PDServingArgs
from narke.serve.llm.openai_api_models import ModelCard

__all__ = [
    "build_dp_deployment",
    "build_dp_openai_app",
    "build_llm_deployment",
    "build_openai_app",
    "build_pd_openai_app",
]


def build_llm_deployment(
    llm_config: LLMConfig,
    *,
    name_prefix: str | None = None,
    bind_kwargs: dict[str, Any] | None = None,
    override_serve_options: dict[str, Any] | None = None,
    deployment_cls: type | None = None,
) -> Application:
    """The deployment that serves one model.

    Args:
        llm_config: which and how.
        name_prefix: of the deployment's name; "LLMServer:" by default.
        bind_kwargs: further arguments of the class.
        override_serve_options: options in place of those that follow from the config.
        deployment_cls: class in place of the config's ``server_cls``, or `LLMServer`.
    """
    from narke.serve.api import deployment

    cls: Any = deployment_cls or _class_of(llm_config)
    options = {**cls.get_deployment_options(llm_config), **(override_serve_options or {})}
    prefix = name_prefix if name_prefix is not None else f"{cls.__name__}:"
    options.setdefault("name", prefix + re.sub(r"[^\w-]", "_", llm_config.model_id))
    return deployment(cls).options(**options).bind(llm_config, **(bind_kwargs or {}))  # type: ignore[no-any-return]


def _class_of(config: LLMConfig) -> Any:
    if config.server_cls is not None:
        return config.server_cls
    from narke.serve.llm.server import LLMServer

    return LLMServer


def build_openai_app(llm_serving_args: LLMServingArgs | dict[str, Any]) -> Application:
    """An application that serves models as OpenAI does.

    Args:
        llm_serving_args: an `LLMServingArgs`, or its fields; a config file may name this function as ``import_path``.
    """
    args = LLMServingArgs.model_validate(llm_serving_args)
    configs: list[LLMConfig] = args.llm_configs
    handles = {config.model_id: build_llm_deployment(config) for config in configs}
    return _behind_ingress(args, configs, handles)


def build_dp_deployment(
    llm_config: LLMConfig,
    *,
    name_prefix: str | None = None,
    bind_kwargs: dict[str, Any] | None = None,
    override_serve_options: dict[str, Any] | None = None,
    deployment_cls: type | None = None,
) -> Application:
    """The deployment that serves one model in gangs of ``data_parallel_size`` replicas.

    Args:
        llm_config, name_prefix, bind_kwargs, override_serve_options: as `build_llm_deployment` has them.
        deployment_cls: class in place of `DPServer`.
    """
    from narke.serve.llm.dp_server import DPServer

    return build_llm_deployment(
        llm_config,
        name_prefix=name_prefix,
        bind_kwargs=bind_kwargs,
        override_serve_options=override_serve_options,
        deployment_cls=deployment_cls or DPServer,
    )


def build_dp_openai_app(dp_serving_args: DPServingArgs | dict[str, Any]) -> Application:
    """An application that serves one model so, as OpenAI does.

    Args:
        dp_serving_args: a `DPServingArgs`, or its fields.
    """
    args = DPServingArgs.model_validate(dp_serving_args)
    config: LLMConfig = args.llm_config
    return _behind_ingress(args, [config], {config.model_id: build_dp_deployment(config)})


def build_pd_openai_app(pd_serving_args: PDServingArgs | dict[str, Any]) -> Application:
    """The same for one model whose prompts are read by other replicas than those that make the texts.

    Args:
        pd_serving_args: a `PDServingArgs`, or its fields.
    """
    from narke.serve.llm.pd_server import PDDecodeServer, PDPrefillServer

    args = PDServingArgs.model_validate(pd_serving_args)
    prefill = build_llm_deployment(
        args.prefill_config, name_prefix="Prefill:", deployment_cls=PDPrefillServer
    )
    decode = build_llm_deployment(
        args.decode_config,
        name_prefix="Decode:",
        bind_kwargs={"prefill_server": prefill},
        deployment_cls=PDDecodeServer,
    )
    return _behind_ingress(args, [args.decode_config], {args.decode_config.model_id: decode})


def _behind_ingress(
    args: LLMServingArgs | PDServingArgs | DPServingArgs,
    configs: list[LLMConfig],
    handles: dict[str, Application],
) -> Application:
    from narke.serve.api import deployment
    from narke.serve.llm.ingress import OpenAiIngress, make_fastapi_ingress

    cards = {config.model_id: ModelCard(id=config.model_id, metadata=_facts(config)) for config in configs}
    lora = {c.model_id: c.lora_config.dynamic_lora_loading_path for c in configs if c.lora_config is not None}
    given = args.ingress_cls_config.get("ingress_cls", OpenAiIngress)
    cls = import_attr(given) if isinstance(given, str) else given
    options = {**cls.get_deployment_options(configs), **args.ingress_deployment_config}
    extra = args.ingress_cls_config.get("ingress_extra_kwargs") or {}
    made = deployment(make_fastapi_ingress(cls)).options(**options)
    return made.bind(handles, cards, lora_paths={k: v for k, v in lora.items() if v}, **extra)  # type: ignore[no-any-return]


def _facts(config: LLMConfig) -> dict[str, Any]:
    return {"model_id": config.model_id, "engine": config.llm_engine, "engine_kwargs": config.engine_kwargs}
