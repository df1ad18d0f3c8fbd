"""Trying again after errors that pass."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")
ATTEMPTS = 10
FIRST_WAIT_S = 0.1
LONGEST_WAIT_S = 16.0


def retried(
    call: Callable[[], T],
    texts: Iterable[str],
    first_wait_s: float = FIRST_WAIT_S,
    *,
    attempts: int = ATTEMPTS,
    longest_wait_s: float = LONGEST_WAIT_S,
    kinds: type[Exception] = OSError,
) -> T:
    """What `call` gives, tried again while it raises errors that hold one of some texts.

    Args:
        first_wait_s: seconds before the second attempt; each wait doubles, with some chance, up to `longest_wait_s`.
        attempts: how often in all. kinds: of errors after which it is tried again.
    """
    known = tuple(texts)
    for attempt in range(attempts):
        try:
            return call()
        except kinds as error:
            if attempt + 1 == attempts or not any(text in str(error) for text in known):
                raise
            wait_s = min(longest_wait_s, first_wait_s * 2**attempt)
            time.sleep(wait_s * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")
