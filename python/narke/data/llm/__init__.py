"""Batch inference with language models: prompts built, tokens made and read, requests sent, over datasets.

Needs pydantic; each stage imports what it runs on (transformers, vLLM, SGLang, aiohttp) where it runs.
"""

from narke.data.llm.config import (
    ChatTemplateStageConfig,
    DetokenizeStageConfig,
    HttpRequestProcessorConfig,
    HttpRequestStageConfig,
    PrepareMultimodalStageConfig,
    ProcessorConfig,
    ServeDeploymentProcessorConfig,
    SGLangEngineProcessorConfig,
    TokenizerStageConfig,
    vLLMEngineProcessorConfig,
)
from narke.data.llm.processor import Processor, build_processor

__all__ = [
    "ChatTemplateStageConfig",
    "DetokenizeStageConfig",
    "HttpRequestProcessorConfig",
    "HttpRequestStageConfig",
    "PrepareMultimodalStageConfig",
    "Processor",
    "ProcessorConfig",
    "SGLangEngineProcessorConfig",
    "ServeDeploymentProcessorConfig",
    "TokenizerStageConfig",
    "build_processor",
    "vLLMEngineProcessorConfig",
]
