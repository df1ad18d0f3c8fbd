"""Tokens into text as they come. Pure: whoever uses it brings the tokenizer's decode."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["TextStream"]

_HALF = "\ufffd"  # what decoders give for a character whose bytes are not all there


class TextStream:
    """Gives the new text for each token: never half a character, never a part of a stop text.

    Attributes:
        is_stopped: a stop text has come; nothing follows.
    """

    def __init__(self, decode: Callable[[list[int]], str], stop: tuple[str, ...] = ()) -> None:
        self._decode = decode
        self._stop = stop
        self._tokens: list[int] = []
        self._known = 0  # tokens whose text was given; those before only give context
        self._held = ""  # may be the beginning of a stop text
        self.is_stopped = False

    def add(self, token: int) -> str:
        """The text that is certain after one more token."""
        self._tokens.append(token)
        before = self._decode(self._tokens[: self._known])
        now = self._decode(self._tokens)
        if now.endswith(_HALF):
            return ""
        self._tokens, self._known = self._tokens[self._known :], len(self._tokens) - self._known
        return self._check(self._held + now[len(before) :])

    def end(self) -> str:
        """What was held back; nothing follows."""
        if self.is_stopped:
            return ""
        before = self._decode(self._tokens[: self._known])
        rest = self._decode(self._tokens)[len(before) :]
        if self._known == len(self._tokens):
            rest = ""
        text = self._check(self._held + rest)
        held, self._held = self._held, ""
        return text + held

    def _check(self, text: str) -> str:
        found = [at for at in (text.find(stop) for stop in self._stop) if at >= 0]
        if found:
            self.is_stopped = True
            self._held = ""
            return text[: min(found)]
        hold = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - hold :]
        return text[: len(text) - hold]


def _overlap(text: str, stop: str) -> int:
    """How much of the text's end is a beginning of `stop`."""
    for length in range(min(len(text), len(stop) - 1), 0, -1):
        if text.endswith(stop[:length]):
            return length
    return 0
