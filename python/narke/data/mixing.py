"""Several datasets in turns, by weights."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

from narke.data.execute.operators import Operator, stop_all
from narke.data.plan import Node


class MixStoppingCondition(enum.Enum):
    """When a mixture ends: with its shortest dataset, or with its longest, the others having dropped out."""

    STOP_ON_SHORTEST = "stop_on_shortest"
    STOP_ON_LONGEST_DROP = "stop_on_longest_drop"


@dataclasses.dataclass(frozen=True)
class Mix(Node):
    """Blocks of inputs in turns, so that their rows keep to shares.

    Args:
        weights: share of each input. stop_on_shortest: end with the first that ends.
    """

    weights: tuple[float, ...] = ()
    stop_on_shortest: bool = False


class MixOp(Operator):
    """The next block is of the input that is furthest behind its share; one that has ended is left out."""

    def __init__(self, upstreams: list[Operator], weights: tuple[float, ...], stop_on_shortest: bool):
        super().__init__("Mix", upstreams)
        self._weights, self._stop = weights, stop_on_shortest
        self._given = [0] * len(upstreams)

    def advance(self) -> None:
        while not self.stopped:
            live = [i for i, up in enumerate(self.upstreams) if not up.done]
            if not live or (self._stop and len(live) < len(self.upstreams)):
                stop_all(self.upstreams)
                return
            behind = min(live, key=lambda i: self._given[i] / self._weights[i])
            queue = self.upstreams[behind].outputs
            if not queue:
                return
            bundle = queue.popleft()
            self._given[behind] += bundle.rows
            self._emit(bundle)


def checked_weights(given: Any, count: int) -> tuple[float, ...]:
    """Weights of so many datasets; equal ones by default.

    Raises:
        ValueError: there are not so many, or one is not positive.
    """
    weights = tuple(given) if given is not None else (1.0,) * count
    if len(weights) != count or any(weight <= 0 for weight in weights):
        raise ValueError(f"mix: {count} datasets need {count} positive weights, not {list(weights)}")
    return weights
