"""Requests and answers of OpenAI's HTTP interface (platform.openai.com/docs/api-reference), as far as they are heeded.

Fields that are not named here are refused if they would change the answer, and passed over otherwise.
"""

from __future__ import annotations

import time
import uuid
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "ChatCompletionRequest",
    "ChatCompletionResponse",
    "ChatCompletionStreamResponse",
    "CompletionRequest",
    "CompletionResponse",
    "CompletionStreamResponse",
    "DetokenizeRequest",
    "DetokenizeResponse",
    "EmbeddingRequest",
    "EmbeddingResponse",
    "ErrorInfo",
    "ErrorResponse",
    "ModelCard",
    "ModelList",
    "ScoreRequest",
    "ScoreResponse",
    "TokenizeRequest",
    "TokenizeResponse",
    "Usage",
]

_NOT_HEEDED = (
    "logprobs",
    "top_logprobs",
    "tools",
    "functions",
    "response_format",
    "best_of",
    "suffix",
    "logit_bias",
)


def _now() -> int:
    return int(time.time())


class _Request(BaseModel):
    model_config = ConfigDict(extra="allow")

    model: str | None = None

    @model_validator(mode="after")
    def _refuse_what_is_not_heeded(self) -> _Request:
        for name in _NOT_HEEDED:
            value = (self.model_extra or {}).get(name)
            if value and value != {"type": "text"} and not (name == "best_of" and value == 1):
                raise ValueError(f"{name} is not available on this server: leave it out")
        return self


class _Sampled(_Request):
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0)
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=-1)
    n: int = Field(default=1, ge=1, le=128)
    stream: bool = False
    stream_options: dict[str, Any] | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    ignore_eos: bool = False
    user: str | None = None

    def wants_usage(self) -> bool:
        """Whether a stream ends with a count of its tokens."""
        return bool((self.stream_options or {}).get("include_usage"))


class ChatCompletionRequest(_Sampled):
    """A conversation that is to be gone on with."""

    messages: list[dict[str, Any]] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)


class CompletionRequest(_Sampled):
    """Texts, or lists of token ids, that are to be gone on with."""

    prompt: str | list[str] | list[int] | list[list[int]]
    echo: bool = False


class EmbeddingRequest(_Request):
    """Texts, or lists of token ids, that are to become vectors."""

    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(default=None, ge=1)


class TokenizeRequest(_Request):
    """A text that is to be taken apart."""

    prompt: str
    add_special_tokens: bool = True


class DetokenizeRequest(_Request):
    """Token ids that are to become a text."""

    tokens: list[int]


class ScoreRequest(_Request):
    """Texts whose fit is asked: one with one, one with several, or pairs."""

    text_1: str | list[str]
    text_2: str | list[str]

    def pairs(self) -> tuple[list[str], list[str]]:
        """The first and the second texts, as many of each.

        Raises:
            ValueError: the numbers do not fit.
        """
        first = [self.text_1] if isinstance(self.text_1, str) else self.text_1
        second = [self.text_2] if isinstance(self.text_2, str) else self.text_2
        if len(first) == 1:
            first = first * len(second)
        if not first or len(first) != len(second):
            raise ValueError(
                f"text_1 has {len(first)} texts and text_2 {len(second)}: one with many, or as many of each"
            )
        return first, second


class Usage(BaseModel):
    """Tokens that a request took."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class _Answer(BaseModel):
    id: str
    object: str
    created: int = Field(default_factory=_now)
    model: str
    choices: list[dict[str, Any]]
    usage: Usage | None = None


class ChatCompletionResponse(_Answer):
    """The conversation's next message."""

    id: str = Field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    object: str = "chat.completion"


class ChatCompletionStreamResponse(_Answer):
    """A part of the conversation's next message."""

    object: str = "chat.completion.chunk"


class CompletionResponse(_Answer):
    """What follows the prompts."""

    id: str = Field(default_factory=lambda: f"cmpl-{uuid.uuid4().hex}")
    object: str = "text_completion"


class CompletionStreamResponse(_Answer):
    """A part of what follows the prompts."""

    object: str = "text_completion"


class _Numbers(BaseModel):
    object: str = "list"
    created: int = Field(default_factory=_now)
    model: str
    data: list[dict[str, Any]]
    usage: Usage


class EmbeddingResponse(_Numbers):
    """Vectors, one for each text."""

    id: str = Field(default_factory=lambda: f"embd-{uuid.uuid4().hex}")


class ScoreResponse(_Numbers):
    """How well texts fit, one number for each pair."""

    id: str = Field(default_factory=lambda: f"score-{uuid.uuid4().hex}")


class TokenizeResponse(BaseModel):
    """A text's tokens."""

    count: int
    max_model_len: int
    tokens: list[int]


class DetokenizeResponse(BaseModel):
    """The text of some tokens."""

    prompt: str


class ErrorInfo(BaseModel):
    """What went wrong."""

    message: str
    type: str
    param: str | None = None
    code: int


class ErrorResponse(BaseModel):
    """An answer that is none."""

    error: ErrorInfo

    @classmethod
    def of(cls, status: int, message: str) -> ErrorResponse:
        """With OpenAI's name for the HTTP status."""
        kinds = {400: "BadRequestError", 404: "NotFoundError", 503: "ServiceUnavailableError"}
        kind = kinds.get(status, "InternalServerError")
        return cls(error=ErrorInfo(message=message, type=kind, code=status))


class ModelCard(BaseModel):
    """One model that may be asked."""

    id: str
    object: str = "model"
    created: int = Field(default_factory=_now)
    owned_by: str = "organization-owner"
    permission: list[str] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


class ModelList(BaseModel):
    """All models that may be asked."""

    object: str = "list"
    data: list[ModelCard]
