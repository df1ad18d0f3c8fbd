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


def retried(call: Callable[[], T], texts: Iterable[str], first_wait_s: float = FIRST_WAIT_S) -> T:
    """What `call` gives, tried up to `ATTEMPTS` times while it raises OSErrors that hold one of some texts.

    Args:
        first_wait_s: seconds before the second attempt; each wait doubles, with some chance, up to `LONGEST_WAIT_S`.
    """
    known = tuple(texts)
    for attempt in range(ATTEMPTS):
        try:
            return call()
        except OSError as error:
            if attempt + 1 == ATTEMPTS or not any(text in str(error) for text in known):
                raise
            wait_s = min(LONGEST_WAIT_S, first_wait_s * 2**attempt)
            time.sleep(wait_s * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")
