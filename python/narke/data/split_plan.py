"""Cutting blocks at rows."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from narke.data import exchange
from narke.data.plan import Bundle, Limits, Works


class CutAt:
    """The same blocks, cut in two before each of some rows."""

    def __init__(self, indices: list[int]):
        self.indices = indices

    def plan(self, inputs: list[list[Bundle]], limits: Limits) -> Works:
        """One task a resulting block."""
        bundles = [b for b in inputs[0] if b.rows]
        if not bundles:
            return
        edges = np.cumsum([0, *(b.rows for b in bundles)])
        inside = [i for i in self.indices if 0 < i < edges[-1]]
        yield from exchange.slices(bundles, sorted({*edges.tolist(), *inside}))


def share_edges(rows: int, shares: Sequence[float]) -> list[int]:
    """Where to cut so many rows into shares, of which the last is not named: rounded down, but none is empty.

    Raises:
        ValueError: shares are not positive with a sum below 1, or there are too few rows.
    """
    if not shares or any(share <= 0 for share in shares) or sum(shares) >= 1:
        raise ValueError(f"shares must be positive with a sum below 1, not {list(shares)}")
    edges = [int(rows * total) for total in itertools.accumulate(shares)]
    moved = 0  # an edge that would lie on the next one moves, and all before it with it
    for place in reversed(range(len(edges) - 1)):
        moved += edges[place] - moved == edges[place + 1]
        edges[place] -= moved
    if min(edges) <= 0:
        raise ValueError(f"{rows} rows are too few for shares of {list(shares)} that have one each")
    return edges
