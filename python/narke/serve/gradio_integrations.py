"""Gradio interfaces as deployments; needs gradio."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.serve.api import deployment

__all__ = ["GradioIngress", "GradioServer"]


class GradioIngress:
    """Serves what a builder function makes: a ``gradio.Blocks`` or ``gradio.Interface``.

    Subclasses may call deployments: ``super().__init__(lambda: gradio.Interface(self.predict, ...))``.
    """

    __serve_asgi__ = True
    __serve_builds_app__ = True

    def __init__(self, builder: Callable[[], Any]) -> None:
        import gradio
        from fastapi import FastAPI

        blocks = builder()
        blocks.max_threads = max(40, blocks.max_threads)
        self._app = gradio.mount_gradio_app(FastAPI(), blocks, path="/")

    @property
    def app(self) -> Any:
        """The ASGI application."""
        return self._app

    @property
    def docs_path(self) -> str | None:
        """Gradio shows no documentation of routes."""
        return None

    def _serve_build_app(self) -> Any:
        return self._app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, as any ASGI application."""
        await self._app(scope, receive, send)


GradioServer = deployment(GradioIngress)
