"""Exchanges that stand still between their partitions and their merges, and datasets that go through them."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from gated_sort import BLOCKS, ROWS, Gated, scattered

import narke
from narke.data import aggregate, exchange
from narke.data.grouped_data import partial_plan
from narke.data.plan import Gather

GROUPS = 1000
PARTITIONS = 8


class GatedShuffle(Gated, exchange.RandomShuffle):
    """See `Gated`."""


class GatedGroups(Gated, exchange.HashPartition):
    """See `Gated`."""


class GatedAggregate(Gated, exchange.Aggregate):
    """See `Gated`."""


class GatedJoin(Gated, exchange.Join):
    """See `Gated`."""

    def step(self, right: Any, left_bytes: Any) -> None:
        """Nothing: both sides go through the exchange."""


def rows() -> Any:
    """Each number once, in no order, and its group."""

    def grouped(batch: dict[str, Any]) -> dict[str, Any]:
        return {**scattered(batch), "g": batch["id"] * 7919 % ROWS % GROUPS}

    return narke.data.range(ROWS, override_num_blocks=BLOCKS).map_batches(grouped)


def shuffled(gate: pathlib.Path) -> Any:
    """A shuffle whose seed is known."""
    return rows()._gathered(GatedShuffle(3, None).behind(gate))


def grouped(gate: pathlib.Path) -> Any:
    """The rows, those of a group together."""
    return rows()._gathered(GatedGroups(["g"], PARTITIONS, True).behind(gate))


def aggregated(gate: pathlib.Path) -> Any:
    """A row for each group, by aggregations."""
    aggs = [aggregate.Count(alias_name="n"), aggregate.Sum("x", alias_name="x")]
    made = rows()
    planner = GatedAggregate(["g"], aggs, PARTITIONS).behind(gate)
    return made._derived(Gather((partial_plan(made, ["g"], aggs),), planner))


def joined(gate: pathlib.Path) -> Any:
    """Each row beside its double, which every other row has."""
    doubles = narke.data.range(ROWS // 2, override_num_blocks=BLOCKS).map_batches(
        lambda b: {"k": b["id"] * 2, "double": b["id"] * 4}
    )
    planner = GatedJoin("inner", ("x",), ("k",), PARTITIONS, ("", "")).behind(gate)
    return rows()._gathered(planner, doubles)


def check_shuffled(got: dict[str, np.ndarray]) -> None:
    """Every row is there once, and in the order of the seed."""
    assert np.array_equal(np.sort(got["x"]), np.arange(ROWS)) and np.array_equal(got["y"], got["x"] * 0.5)
    undisturbed = rows().random_shuffle(seed=3).to_pandas()
    assert np.array_equal(got["x"], undisturbed["x"])


def check_grouped(got: dict[str, np.ndarray]) -> None:
    """Every row is there once, and groups lie together."""
    assert np.array_equal(np.sort(got["x"]), np.arange(ROWS)) and np.array_equal(got["g"], got["x"] % GROUPS)
    assert np.count_nonzero(np.diff(got["g"])) == GROUPS - 1


def check_groups(got: dict[str, np.ndarray]) -> None:
    """Every group is there once, with all its rows."""
    order = np.argsort(got["g"])
    each = ROWS // GROUPS
    assert np.array_equal(got["g"][order], np.arange(GROUPS)) and (got["n"] == each).all()
    sums = each * np.arange(GROUPS) + GROUPS * each * (each - 1) // 2
    assert np.array_equal(got["x"][order], sums)


def check_joined(got: dict[str, np.ndarray]) -> None:
    """Every row that has a partner is there once, with its own."""
    assert np.array_equal(np.sort(got["x"]), np.arange(0, ROWS, 2))
    assert np.array_equal(got["double"], 2 * got["x"]) and np.array_equal(got["y"], got["x"] * 0.5)


EXCHANGES = {
    "shuffle": (shuffled, check_shuffled),
    "groups": (grouped, check_grouped),
    "aggregate": (aggregated, check_groups),
    "join": (joined, check_joined),
}


def exchange_and_check(name: str, gate: pathlib.Path, in_the_middle: Callable[[], None]) -> None:
    """Run an exchange; when the first merged block is there, call a function and open the gate; then check all rows."""
    narke.data.DataContext.get_current().enable_progress_bars = False
    made, check = EXCHANGES[name]
    batches: list[Any] = []
    for batch in made(gate).iter_batches(batch_size=None, prefetch_batches=0):
        if not batches:
            in_the_middle()
            gate.touch()
        batches.append(batch)
    check({key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]})


def main() -> None:
    """A driver at an address. In the middle of each exchange it says its name and waits for a line."""

    def in_the_middle() -> None:
        print(name, flush=True)
        sys.stdin.readline()

    narke.init(address=sys.argv[1], log_to_driver=False)
    for name in EXCHANGES:
        exchange_and_check(name, pathlib.Path(f"{sys.argv[2]}.{name}"), in_the_middle)
    print("exact", flush=True)


if __name__ == "__main__":
    import gated_exchanges  # so that workers find what is pickled by its name

    gated_exchanges.main()
