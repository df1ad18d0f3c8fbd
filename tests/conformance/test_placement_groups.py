"""Placement groups and scheduling strategies on a cluster of one node."""

import os

import pytest
import ray
from ray.exceptions import GetTimeoutError, RayActorError, TaskPlacementGroupRemoved
from ray.util.placement_group import (
    PlacementGroup,
    get_current_placement_group,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy
from waiting import is_running, wait_for

pytestmark = pytest.mark.usefixtures("cluster")


@pytest.fixture
def reserve():
    """A maker of placement groups that removes them after the test and waits for their resources' return."""
    made = []

    def make(bundles, **options):
        made.append(placement_group(bundles, **options))
        return made[-1]

    yield make
    for group in made:
        remove_placement_group(group)
    wait_for(lambda: ray.available_resources().get("CPU") == 4.0, what="the return of reserved CPUs")


def within(group, **options):
    return PlacementGroupSchedulingStrategy(placement_group=group, **options)


@ray.remote(num_cpus=1)
def current_group():
    group = get_current_placement_group()
    return group and group.id


@ray.remote(num_cpus=1)
def groups_of_self_and_child():
    return ray.get([ray.put(ray.get_runtime_context().get_placement_group_id()), child_group.remote()])


@ray.remote(num_cpus=0)
def child_group():
    return ray.get_runtime_context().get_placement_group_id()


@ray.remote(num_cpus=1)
class Resident:
    def pid(self):
        return os.getpid()

    def group(self):
        return get_current_placement_group().id


class TestCreation:
    @pytest.mark.parametrize("strategy", ["PACK", "SPREAD", "STRICT_PACK"])
    def test_strategies_that_fit_one_node(self, reserve, strategy):
        group = reserve([{"CPU": 1}, {"CPU": 1}], strategy=strategy)
        assert group.wait(30) is True
        table = placement_group_table(group)
        assert table["strategy"] == strategy and table["state"] == "CREATED"
        here = ray.get_runtime_context().get_node_id()
        assert table["bundles_to_node_id"] == {0: here, 1: here}

    def test_strict_spread_needs_as_many_nodes(self, reserve):
        group = reserve([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
        assert group.wait(1) is False
        assert placement_group_table(group)["state"] == "PENDING"

    def test_ready_and_wait(self, reserve):
        group = reserve([{"CPU": 1}])
        assert ray.get(group.ready(), timeout=30) == group
        assert group.wait(timeout_seconds=30) is True

    def test_describes_itself(self, reserve):
        group = reserve([{"CPU": 1}, {"CPU": 1, "GPU": 1, "custom": 2}], name="described")
        assert isinstance(group, PlacementGroup)
        assert group.bundle_specs == [{"CPU": 1.0}, {"CPU": 1.0, "GPU": 1.0, "custom": 2.0}]
        assert group.bundle_count == 2
        assert group.is_empty is False
        assert group.wait(30)
        table = placement_group_table(group)
        assert table["placement_group_id"] == group.id.hex()
        assert table["name"] == "described"
        assert table["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 1.0, "GPU": 1.0, "custom": 2.0}}
        assert placement_group_table()[group.id.hex()]["name"] == "described"

    def test_named(self, reserve):
        group = reserve([{"CPU": 1}], name="by-name")
        assert group.wait(30)
        assert get_placement_group("by-name") == group
        with pytest.raises(ValueError, match="no such group"):
            get_placement_group("no such group")

    def test_reserves(self, reserve):
        group = reserve([{"CPU": 3}])
        assert group.wait(30)
        wait_for(lambda: ray.available_resources().get("CPU") == 1.0, what="the reservation")
        outside = current_group.options(num_cpus=2).remote()
        assert ray.wait([outside], timeout=0.5) == ([], [outside])
        remove_placement_group(group)
        assert ray.get(outside, timeout=30) is None

    def test_infeasible_stays_pending(self, reserve):
        group = reserve([{"CPU": 100}])
        assert group.wait(0.5) is False
        with pytest.raises(GetTimeoutError):
            ray.get(group.ready(), timeout=0.5)
        assert placement_group_table(group)["state"] == "PENDING"

    def test_waits_for_room(self, reserve):
        first, second = reserve([{"CPU": 3}]), reserve([{"CPU": 3}])
        assert first.wait(30) is True
        assert second.wait(0.5) is False
        remove_placement_group(first)
        assert second.wait(30) is True

    def test_can_be_sent(self, reserve):
        group = reserve([{"CPU": 1}])

        @ray.remote
        def use(group):
            inside = current_group.options(scheduling_strategy=within(group))
            return group.bundle_count, ray.get(inside.remote())

        assert ray.get(use.remote(group), timeout=60) == (1, group.id)

    @pytest.mark.parametrize(
        "bundles, options, text",
        [
            ([], {}, "non-empty list"),
            ([{}], {}, "empty dictionary"),
            ([{"CPU": 0}], {}, "only 0 values"),
            (5, {}, "must be a list.*int"),
            ([5], {}, "list of resource dictionaries"),
            ([{"CPU": 1}], {"strategy": "SOMEHOW"}, "Invalid placement group strategy SOMEHOW"),
            ([{"CPU": 1}], {"lifetime": "forever"}, "lifetime.*forever"),
        ],
        ids=str,
    )
    def test_bad_arguments(self, bundles, options, text):
        with pytest.raises(ValueError, match=text):
            placement_group(bundles, **options)


class TestUse:
    def test_task_inside(self, reserve):
        group = reserve([{"CPU": 1}])
        assert (
            ray.get(current_group.options(scheduling_strategy=within(group)).remote(), timeout=30) == group.id
        )
        assert ray.get(current_group.remote(), timeout=30) is None
        assert get_current_placement_group() is None

    def test_options_of_the_older_style(self, reserve):
        group = reserve([{"CPU": 1}, {"CPU": 1}])
        older = current_group.options(placement_group=group, placement_group_bundle_index=1)
        assert ray.get(older.remote(), timeout=30) == group.id

    @pytest.mark.parametrize("capture", [True, False])
    def test_capture_child_tasks(self, reserve, capture):
        group = reserve([{"CPU": 1}, {"CPU": 1}])
        strategy = within(group, placement_group_capture_child_tasks=capture)
        own, child = ray.get(
            groups_of_self_and_child.options(scheduling_strategy=strategy).remote(), timeout=60
        )
        assert own == group.id.hex()
        assert child == (group.id.hex() if capture else None)

    def test_bundle_index(self, reserve):
        group = reserve([{"CPU": 1}, {"CPU": 1, "GPU": 1}])
        second = within(group, placement_group_bundle_index=1)

        @ray.remote(num_cpus=0, num_gpus=1)
        def gpu_ids():
            return ray.get_gpu_ids()

        assert len(ray.get(gpu_ids.options(scheduling_strategy=second).remote(), timeout=30)) == 1

    def test_more_than_a_bundle_has_must_wait(self, reserve):
        group = reserve([{"CPU": 2}, {"CPU": 2}])
        residents = [
            Resident.options(scheduling_strategy=within(group, placement_group_bundle_index=0)).remote()
            for _ in range(3)
        ]
        ray.get([resident.pid.remote() for resident in residents[:2]], timeout=60)
        third = residents[2].pid.remote()
        assert ray.wait([third], timeout=1) == ([], [third])
        ray.kill(residents[0])
        assert ray.get(third, timeout=60)

    @pytest.mark.parametrize(
        "options, index, text",
        [({}, 5, "bundle index 5 is invalid"), ({"num_cpus": 3}, -1, "cannot fit into any bundles")],
        ids=["index", "size"],
    )
    def test_what_cannot_fit_is_refused(self, reserve, options, index, text):
        group = reserve([{"CPU": 1}])
        strategy = within(group, placement_group_bundle_index=index)
        with pytest.raises(ValueError, match=text):
            current_group.options(scheduling_strategy=strategy, **options).remote()

    def test_actor_inside(self, reserve):
        group = reserve([{"CPU": 1}])
        resident = Resident.options(scheduling_strategy=within(group)).remote()
        assert ray.get(resident.group.remote(), timeout=30) == group.id


class TestRemoval:
    def test_kills_its_actors(self, reserve):
        group = reserve([{"CPU": 1}])
        resident = Resident.options(scheduling_strategy=within(group)).remote()
        pid = ray.get(resident.pid.remote(), timeout=30)
        remove_placement_group(group)
        wait_for(lambda: not is_running(pid), what="the actor's end")
        with pytest.raises(RayActorError):
            ray.get(resident.pid.remote(), timeout=30)

    def test_state_and_repetition(self, reserve):
        group = reserve([{"CPU": 1}])
        assert group.wait(30)
        remove_placement_group(group)
        remove_placement_group(group)
        wait_for(lambda: placement_group_table(group)["state"] == "REMOVED", what="the removal")

    def test_of_a_pending_group(self, reserve):
        group = reserve([{"CPU": 100}])
        ready = group.ready()
        remove_placement_group(group)
        with pytest.raises(TaskPlacementGroupRemoved):
            ray.get(ready, timeout=30)


class TestStrategies:
    @staticmethod
    @ray.remote
    def where():
        return ray.get_runtime_context().get_node_id()

    @pytest.mark.parametrize("strategy", ["DEFAULT", "SPREAD", None])
    def test_by_name(self, strategy):
        here = ray.get_runtime_context().get_node_id()
        assert ray.get(self.where.options(scheduling_strategy=strategy).remote(), timeout=30) == here

    @pytest.mark.parametrize("soft", [True, False])
    def test_affinity_to_the_own_node(self, soft):
        here = ray.get_runtime_context().get_node_id()
        strategy = NodeAffinitySchedulingStrategy(here, soft=soft)
        assert ray.get(self.where.options(scheduling_strategy=strategy).remote(), timeout=30) == here

        @ray.remote(num_cpus=0, scheduling_strategy=strategy)
        class Here:
            def where(self):
                return ray.get_runtime_context().get_node_id()

        assert ray.get(Here.remote().where.remote(), timeout=30) == here

    @pytest.mark.parametrize("node", ["zz", "", "ab" * 3])
    def test_affinity_to_what_is_no_node(self, node):
        with pytest.raises(ValueError, match="Invalid node_id"):
            self.where.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote()

    def test_affinity_to_an_unknown_node(self):
        strategy = NodeAffinitySchedulingStrategy("ab" * 28, soft=False)
        with pytest.raises(ray.exceptions.TaskUnschedulableError):
            ray.get(self.where.options(scheduling_strategy=strategy).remote(), timeout=30)

    def test_soft_affinity_to_an_unknown_node_runs_elsewhere(self):
        strategy = NodeAffinitySchedulingStrategy("ab" * 28, soft=True)
        here = ray.get_runtime_context().get_node_id()
        assert ray.get(self.where.options(scheduling_strategy=strategy).remote(), timeout=30) == here

    def test_label_selector(self):
        here = ray.get_runtime_context().get_node_id()
        chosen = self.where.options(label_selector={"ray.io/node-id": here})
        assert ray.get(chosen.remote(), timeout=30) == here
