"""What was read of prompts, kept for prompts that begin alike. Pure but for the tensors it holds."""

from __future__ import annotations

import collections
from typing import Any

__all__ = ["PrefixCache"]

_LEAST = 16  # tokens: reading fewer again costs less than looking after them


class PrefixCache:
    """Keys and values of the last prompts, by adapter; the least used ones give way.

    Attributes:
        size: tokens held.
        asked, found: tokens of all prompts so far, and those that were known.
    """

    def __init__(self, most_tokens: int) -> None:
        self._most = most_tokens
        self._held: collections.OrderedDict[tuple[str, tuple[int, ...]], Any] = collections.OrderedDict()
        self.size = 0
        self.asked = 0
        self.found = 0

    def match(self, adapter: str, prompt: list[int]) -> list[tuple[Any, Any]] | None:
        """Keys and values (heads, positions, size) of the longest known beginning; the last token is never among it.

        Returns:
            for each layer; None: too little is known.
        """
        wanted = tuple(prompt[:-1])
        self.asked += len(prompt)
        best, length = None, _LEAST - 1
        for key in self._held:
            if key[0] == adapter and (common := _common(key[1], wanted)) > length:
                best, length = key, common
        if best is None:
            return None
        self._held.move_to_end(best)
        self.found += length
        return [(keys[:, :length], values[:, :length]) for keys, values in self._held[best]]

    def put(self, adapter: str, prompt: list[int], layers: list[tuple[Any, Any]]) -> None:
        """This prompt was read."""
        key = adapter, tuple(prompt)
        if not _LEAST <= len(prompt) <= self._most or key in self._held:
            return
        self._held[key] = [(keys.clone(), values.clone()) for keys, values in layers]
        self.size += len(prompt)
        while self.size > self._most:
            (_, gone), _ = self._held.popitem(last=False)
            self.size -= len(gone)

    def clear(self) -> None:
        """Forget all."""
        self._held.clear()
        self.size = 0


def _common(a: tuple[int, ...], b: tuple[int, ...]) -> int:
    """Tokens that two prompts begin with alike."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))
