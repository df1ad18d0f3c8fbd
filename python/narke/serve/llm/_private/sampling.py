"""How the next token is chosen, and when a text ends."""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["Piece", "Sampling", "choose"]

_DEFAULT_TOKENS = 16  # of a completion whose request names no number, as OpenAI's


@dataclasses.dataclass(frozen=True)
class Sampling:
    """What a request asks of its text.

    Attributes:
        max_tokens: at most so many.
        temperature: 0: always the likeliest token.
        top_p, top_k: only among the likeliest; 1 and 0: among all.
        presence_penalty, frequency_penalty: taken off the logits of tokens that came already.
        stop: the text ends before the first of these.
        seed: the same text each time, or None.
        ignore_eos: go on after the model's end.
    """

    max_tokens: int = _DEFAULT_TOKENS
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    ignore_eos: bool = False

    @classmethod
    def of(cls, request: Any, room: int, default_tokens: int | None = None) -> Sampling:
        """What an OpenAI request asks.

        Args:
            request: a chat or completion request.
            room: tokens that the model's context has left.
            default_tokens: when it names no number; None: as many as there is room.
        """
        given = getattr(request, "max_completion_tokens", None) or request.max_tokens
        wanted = given if given is not None else (room if default_tokens is None else default_tokens)
        stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
        return cls(
            max_tokens=max(1, min(wanted, room)),
            temperature=1.0 if request.temperature is None else request.temperature,
            top_p=1.0 if request.top_p is None else request.top_p,
            top_k=max(0, request.top_k or 0),
            presence_penalty=request.presence_penalty or 0.0,
            frequency_penalty=request.frequency_penalty or 0.0,
            stop=tuple(stop),
            seed=request.seed,
            ignore_eos=bool(request.ignore_eos),
        )


@dataclasses.dataclass
class Piece:
    """A part of a text.

    Attributes:
        text: what is new.
        tokens: how many tokens it took.
        finish_reason: "stop" or "length" with the last part, else None.
    """

    text: str
    tokens: int
    finish_reason: str | None = None


def choose(logits: Any, sampling: Sampling, counts: dict[int, int], generator: Any) -> int:
    """The next token.

    Args:
        logits: a row of them (torch).
        counts: how often each token came in the text so far.
        generator: torch's, for reproducible choices; None: the common one.
    """
    import torch

    if counts and (sampling.presence_penalty or sampling.frequency_penalty):
        tokens = torch.tensor(list(counts), dtype=torch.long)
        times = torch.tensor(list(counts.values()), dtype=logits.dtype)
        logits = logits.clone()
        logits[tokens] -= sampling.presence_penalty + sampling.frequency_penalty * times
    if sampling.temperature <= 0:
        return int(logits.argmax())
    if sampling.top_p >= 1 and not 0 < sampling.top_k < len(logits):
        return int(
            torch.multinomial((logits.float() / sampling.temperature).softmax(-1), 1, generator=generator)
        )
    ordered, order = (logits.float() / sampling.temperature).sort(descending=True)
    if 0 < sampling.top_k < len(ordered):
        ordered, order = ordered[: sampling.top_k], order[: sampling.top_k]
    likely = ordered.softmax(-1)
    if sampling.top_p < 1:
        kept = int(((likely.cumsum(-1) - likely) < sampling.top_p).sum())
        likely, order = likely[: max(1, kept)], order[: max(1, kept)]
    return int(order[torch.multinomial(likely, 1, generator=generator)])
