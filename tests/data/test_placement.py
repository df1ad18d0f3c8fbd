"""Where datasets run."""

from __future__ import annotations

import pytest

import narke
import narke.data
from narke.util.placement_group import placement_group, remove_placement_group
from narke.util.scheduling_strategies import PlacementGroupSchedulingStrategy

pytestmark = pytest.mark.usefixtures("cluster")


def test_a_dataset_runs_beside_a_full_placement_group() -> None:
    group = placement_group([{"CPU": 1}])

    class Holder:
        def count(self) -> int:
            (part,) = narke.data.range(10, override_num_blocks=2).map(lambda row: row).streaming_split(1)
            return sum(1 for _ in part.iter_rows())

    where = PlacementGroupSchedulingStrategy(group, 0, placement_group_capture_child_tasks=True)
    holder = narke.remote(num_cpus=1)(Holder).options(scheduling_strategy=where).remote()
    assert narke.get(holder.count.remote(), timeout=60) == 10
    remove_placement_group(group)
