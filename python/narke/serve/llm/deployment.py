"""Deployments that have models."""

from narke.serve.llm.dp_server import DPServer
from narke.serve.llm.pd_server import PDDecodeServer, PDPrefillServer
from narke.serve.llm.server import LLMServer

__all__ = ["DPServer", "LLMServer", "PDDecodeServer", "PDPrefillServer"]
