"""Deployments that have models."""

from narke.serve.llm.server import LLMServer

__all__ = ["LLMServer"]
