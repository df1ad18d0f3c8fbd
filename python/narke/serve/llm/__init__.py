"""Language models behind OpenAI's interface; see README.md beside this."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from narke.serve.llm.builders import (
        build_dp_deployment,
        build_dp_openai_app,
        build_llm_deployment,
        build_openai_app,
        build_pd_openai_app,
    )
    from narke.serve.llm.configs import (
        CloudMirrorConfig,
        LLMConfig,
        LLMServingArgs,
        LoraConfig,
        ModelLoadingConfig,
    )
    from narke.serve.llm.ingress import OpenAiIngress as LLMRouter
    from narke.serve.llm.server import LLMServer

__all__ = [
    "CloudMirrorConfig",
    "LLMConfig",
    "LLMRouter",
    "LLMServer",
    "LLMServingArgs",
    "LoraConfig",
    "ModelLoadingConfig",
    "build_dp_deployment",
    "build_dp_openai_app",
    "build_llm_deployment",
    "build_openai_app",
    "build_pd_openai_app",
]

# Imported when they are asked for: configs need neither FastAPI nor a model's library.
_WHERE = {
    "LLMRouter": ("ingress", "OpenAiIngress"),  # its name in former releases
    "LLMServer": ("server", "LLMServer"),
    **{
        name: ("builders", name)
        for name in (
            "build_dp_deployment",
            "build_dp_openai_app",
            "build_llm_deployment",
            "build_openai_app",
            "build_pd_openai_app",
        )
    },
    **{
        name: ("configs", name)
        for name in ("CloudMirrorConfig", "LLMConfig", "LLMServingArgs", "LoraConfig", "ModelLoadingConfig")
    },
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, attribute = _WHERE[name]
    return getattr(importlib.import_module(f"{__name__}.{module}"), attribute)
