"""Names of files that begin with one of many prefixes."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any


class PrefixTrie:
    """Prefixes, of which each look-up costs no more than the length of the word."""

    def __init__(self) -> None:
        self._words: set[str] = set()
        self._lengths: set[int] = set()

    def insert(self, word: str) -> None:
        """Add a prefix."""
        self._words.add(word)
        self._lengths.add(len(word))

    def has_prefix_of(self, word: str) -> bool:
        """Whether a word begins with one of them."""
        return any(length <= len(word) and word[:length] in self._words for length in self._lengths)


def build_pending_checkpoint_trie(file_paths: Iterable[Any], pending_suffix: str) -> PrefixTrie:
    """The names of data files that notes with an ending are about.

    Args:
        file_paths: pyarrow `FileInfo`s, or paths. pending_suffix: the ending; other files do not count.
    """
    trie = PrefixTrie()
    for file in file_paths:
        name = posixpath.basename(getattr(file, "path", file))
        if name.endswith(pending_suffix):
            trie.insert(name.removesuffix(pending_suffix))
    return trie
