"""Deployments that have models."""

from narke.serve.llm.pd_server import PDDecodeServer, PDPrefillServer
from narke.serve.llm.server import LLMServer

__all__ = ["LLMServer", "PDDecodeServer", "PDPrefillServer"]
