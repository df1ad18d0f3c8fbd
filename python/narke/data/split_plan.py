"""Cutting blocks at rows."""

from __future__ import annotations

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
