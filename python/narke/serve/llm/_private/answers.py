"""Parts of answers in OpenAI's form."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

from narke.serve.llm._private.sampling import Piece
from narke.serve.llm.openai_api_models import EmbeddingRequest, Usage

__all__ = ["RequestError", "content_of", "encoded", "event", "merged", "usage_of", "whole"]


class RequestError(Exception):
    """A request that cannot be answered.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def content_of(message: dict[str, Any]) -> str:
    """A message's text; parts of it that are text are joined."""
    content = message.get("content")
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list) or any(part.get("type") != "text" for part in content):
        raise RequestError(400, "Only messages of text can be answered.")
    return "".join(str(part.get("text", "")) for part in content)


def usage_of(read: int, made: int) -> Usage:
    return Usage(prompt_tokens=read, completion_tokens=made, total_tokens=read + made)


def event(answer: Any) -> str:
    return f"data: {json.dumps(answer.model_dump(mode='json', exclude_none=False))}\n\n"


def encoded(vector: list[float], request: EmbeddingRequest) -> Any:
    vector = vector[: request.dimensions] if request.dimensions else vector
    if request.encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return vector


async def whole(run: AsyncIterator[Piece]) -> tuple[str, int, str]:
    texts, tokens, why = [], 0, "stop"
    async for piece in run:
        texts.append(piece.text)
        tokens += piece.tokens
        why = piece.finish_reason or why
    return "".join(texts), tokens, why


async def merged(runs: list[AsyncIterator[Piece]]) -> AsyncIterator[tuple[int, Piece]]:
    """Pieces of several texts as they come, each with its text's number."""
    if len(runs) == 1:
        async for piece in runs[0]:
            yield 0, piece
        return
    arrived: asyncio.Queue[tuple[int, Piece | BaseException | None]] = asyncio.Queue()

    async def pump(index: int) -> None:
        try:
            async for piece in runs[index]:
                arrived.put_nowait((index, piece))
            arrived.put_nowait((index, None))
        except Exception as error:  # raised where the pieces are used
            arrived.put_nowait((index, error))

    tasks = [asyncio.get_running_loop().create_task(pump(index)) for index in range(len(runs))]
    open_runs = len(tasks)
    try:
        while open_runs:
            index, found = await arrived.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                open_runs -= 1
            else:
                yield index, found
    finally:
        for task in tasks:
            task.cancel()
