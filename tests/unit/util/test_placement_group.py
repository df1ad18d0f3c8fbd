"""What is checked before a placement group is sent, and what handles do without the cluster."""

import importlib
import pickle

import pytest

import narke

module = importlib.import_module("narke.util.placement_group")
ONE = [{"CPU": 1}]


@pytest.mark.parametrize(
    ("bundles", "options", "text"),
    [
        ([], {}, "Got empty list"),
        ("x", {}, "must be a list"),
        (None, {}, "must be a list"),
        ([1], {}, "list of resource dictionaries"),
        ([{1: 1}], {}, "list of resource dictionaries"),
        ([{"CPU": "a"}], {}, "not a number"),
        ([{"CPU": None}], {}, "not a number"),
        ([{"CPU": -1}], {}, "-1 of CPU"),
        ([{"CPU": float("nan")}], {}, "nan of CPU"),
        ([{}], {}, "only 0 values"),
        ([{"CPU": 0, "GPU": 0}], {}, "only 0 values"),
        (ONE, {"strategy": "FOO"}, "PACK, SPREAD, STRICT_PACK, STRICT_SPREAD"),
        (ONE, {"lifetime": "x"}, "detached"),
        (ONE, {"_soft_target_node_id": "ab" * 28}, "STRICT_PACK but got PACK"),
        (ONE, {"_soft_target_node_id": "x", "strategy": "STRICT_PACK"}, "Invalid hex ID"),
        (ONE, {"bundle_label_selector": {"a": "b"}}, "must be a list"),
        (ONE, {"bundle_label_selector": []}, "should equal"),
        (ONE, {"bundle_label_selector": [{"a": 1}]}, "string dictionary"),
        (ONE, {"bundle_label_selector": ["a"]}, "string dictionary"),
        (ONE, {"bundle_label_selector": [{"a": "in(b"}]}, "label selector"),
        (ONE, {"topology_strategy": "x"}, "must be a dict"),
        (ONE, {"topology_strategy": {"ray.io/node-id": "PACK"}, "strategy": "PACK"}, "cannot both"),
        (ONE, {"topology_strategy": {"ray.io/node-id": "FOO"}}, "FOO"),
        (ONE, {"topology_strategy": {"rack": "PACK"}}, "rack"),
    ],
)
def test_malformed(bundles, options, text, monkeypatch):
    monkeypatch.setattr(module, "_ask", lambda *args, **fields: pytest.fail("something was sent"))
    with pytest.raises(ValueError, match=text):
        module.placement_group(bundles, **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"strategy": "SPREAD", "lifetime": "detached"},
        {"strategy": "STRICT_PACK", "_soft_target_node_id": "ab" * 28},
        {"bundle_label_selector": [{"ray.io/zone": "!in(a, b)", "k": "v"}]},
        {"topology_strategy": {"ray.io/node-id": "STRICT_SPREAD"}},
    ],
)
def test_wellformed(options):
    assert module.validate_placement_group([{"CPU": 0.5, "memory": 10}], **options) is None


def test_empty_handle():
    empty = module.PlacementGroup.empty()
    assert empty.is_empty
    assert empty == module.PlacementGroup.empty()
    module.check_placement_group_index(empty, -1)
    with pytest.raises(ValueError, match="must be -1"):
        module.check_placement_group_index(empty, 0)


def test_handle_keeps_its_bundles_when_it_travels():
    group = module.PlacementGroup(narke.PlacementGroupID(b"a" * 18), [{"CPU": 1.0}, {"CPU": 2.0}])
    copy = pickle.loads(pickle.dumps(group))
    assert copy == group and hash(copy) == hash(group)
    assert copy.bundle_specs == [{"CPU": 1.0}, {"CPU": 2.0}] and copy.bundle_count == 2
    with pytest.raises(ValueError, match="0-1"):
        module.check_placement_group_index(copy, 2)


def test_table_entry_has_the_documented_shape():
    entry = module._described(
        {
            "placement_group_id": "ab" * 18,
            "name": "n",
            "bundles": [{"CPU": 1.0}, {"CPU": 2.0}],
            "bundles_to_node_id": ["cd" * 28],
            "strategy": "PACK",
            "state": "PENDING",
        }
    )
    assert entry["bundles"] == {0: {"CPU": 1.0}, 1: {"CPU": 2.0}}
    assert entry["bundles_to_node_id"] == {0: "cd" * 28, 1: ""}
    assert entry["stats"] == {}


def test_wait_tells_created_from_removed(monkeypatch):
    group = module.PlacementGroup(narke.PlacementGroupID(b"a" * 18), ONE)
    asked = []

    def answer(pg_id, timeout_ms):
        asked.append(timeout_ms)
        return states.pop()

    states = ["REMOVED", "PENDING", "CREATED"]
    monkeypatch.setattr(module, "_wait", answer)
    assert group.wait(2) is True
    assert group.wait(0.5) is False
    with pytest.raises(ValueError, match="was removed"):
        group.wait()
    assert asked == [2000, 500, 30000]


@pytest.mark.parametrize("argument", [None, "x", 1])
def test_only_handles_are_removed(argument):
    with pytest.raises(TypeError, match="expected a PlacementGroup"):
        module.remove_placement_group(argument)
