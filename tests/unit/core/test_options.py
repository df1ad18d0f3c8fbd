"""Options of tasks, actors and methods: what is refused, by name, and what they come to."""

import pytest

import narke
from narke._private import options, strategies
from narke.util.scheduling_strategies import (
    Exists,
    In,
    NodeAffinitySchedulingStrategy,
    NodeLabelSchedulingStrategy,
)

NODE = "ab" * 28


@pytest.mark.parametrize(
    "given, error, text",
    [
        ({"num_cpus": -1}, ValueError, "num_cpus cannot be negative"),
        ({"num_cpus": float("nan")}, ValueError, "num_cpus.*finite"),
        ({"num_cpus": float("inf")}, ValueError, "num_cpus.*finite"),
        ({"num_cpus": True}, TypeError, "num_cpus"),
        ({"num_cpus": 0.00001}, ValueError, "precision.*num_cpus"),
        ({"num_gpus": 1.5}, ValueError, "whole"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"resources": {"a": "x"}}, ValueError, "a must be a number"),
        ({"resources": {1: 1}}, ValueError, "names"),
        ({"resources": [1]}, TypeError, "resources"),
        ({"num_returns": -1}, ValueError, "num_returns"),
        ({"num_returns": "some"}, ValueError, "num_returns.*some"),
        ({"max_retries": -2}, ValueError, "max_retries"),
        ({"max_calls": -1}, ValueError, "max_calls"),
        ({"retry_exceptions": [1]}, ValueError, "retry_exceptions"),
        ({"runtime_env": 3}, TypeError, "runtime_env"),
        ({"scheduling_strategy": "x"}, ValueError, "scheduling_strategy.*x"),
        ({"scheduling_strategy": 3}, TypeError, "scheduling_strategy"),
        ({"placement_group": 3}, TypeError, "placement_group"),
        ({"label_selector": {"a": 3}}, ValueError, "must be a string"),
        ({"label_selector": {"a": "in(b"}}, ValueError, "in\\(b"),
        ({"fallback_strategy": [1]}, ValueError, "fallback_strategy"),
        ({"max_restarts": 1}, ValueError, "max_restarts for remote functions"),
        ({"_generator_backpressure_num_objects": 0}, ValueError, "backpressure"),
    ],
    ids=str,
)
def test_task_option_is_refused_by_name(given, error, text):
    with pytest.raises(error, match=text):
        options.check_task_options(given)


@pytest.mark.parametrize(
    "given, error, text",
    [
        ({"num_returns": 2}, ValueError, "num_returns for actors"),
        ({"max_restarts": -2}, ValueError, "max_restarts"),
        ({"max_task_retries": -2}, ValueError, "max_task_retries"),
        ({"max_concurrency": -1}, ValueError, "max_concurrency"),
        ({"max_pending_calls": -2}, ValueError, "max_pending_calls"),
        ({"lifetime": "long"}, ValueError, "lifetime"),
        ({"get_if_exists": True}, ValueError, "name must be specified"),
        ({"namespace": 3}, TypeError, "namespace"),
        ({"concurrency_groups": 3}, TypeError, "concurrency_groups"),
    ],
    ids=str,
)
def test_actor_option_is_refused_by_name(given, error, text):
    with pytest.raises(error, match=text):
        options.check_actor_options(given)


def test_some_options_belong_to_the_decorator():
    with pytest.raises(ValueError, match="max_calls.*options"):
        options.check_task_options({"max_calls": 1}, in_options=True)
    with pytest.raises(ValueError, match="concurrency_groups.*options"):
        options.check_actor_options({"concurrency_groups": {"a": 1}}, in_options=True)


def test_every_default_is_accepted():
    options.check_task_options({name: option.default for name, option in options.TASK_OPTIONS.items()})
    options.check_actor_options({name: option.default for name, option in options.ACTOR_OPTIONS.items()})
    options.check_method_options({name: option.default for name, option in options.METHOD_OPTIONS.items()})


class TestResources:
    def test_task_defaults_to_one_cpu(self):
        assert options.task_resources({}) == {"CPU": 1.0}
        assert options.task_resources({"num_cpus": 0}) == {}

    def test_everything(self):
        given = {
            "num_cpus": 2,
            "num_gpus": 0.5,
            "memory": 100,
            "resources": {"a": 1},
            "accelerator_type": "T4",
        }
        assert options.task_resources(given) == {
            "CPU": 2.0,
            "GPU": 0.5,
            "memory": 100.0,
            "a": 1.0,
            "accelerator_type:T4": 0.001,
        }

    @pytest.mark.parametrize(
        "given, placed, held",
        [
            ({}, {"CPU": 1.0}, {}),
            ({"num_cpus": 0}, {}, {}),
            ({"num_cpus": 2}, {"CPU": 2.0}, {"CPU": 2.0}),
            ({"num_gpus": 1}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0, "GPU": 1.0}),
            ({"resources": {"a": 1}}, {"CPU": 1.0, "a": 1.0}, {"CPU": 1.0, "a": 1.0}),
            ({"memory": 5}, {"CPU": 1.0, "memory": 5.0}, {"memory": 5.0}),
        ],
        ids=str,
    )
    def test_actor(self, given, placed, held):
        assert options.actor_resources(given) == (placed, held)


class TestMerging:
    def test_new_replaces_old(self):
        assert options.merge_options({"num_cpus": 1, "name": "a"}, {"name": "b"}) == {
            "num_cpus": 1,
            "name": "b",
        }

    def test_labels_are_united(self):
        merged = options.merge_options({"_labels": {"a": 1}}, {"_labels": {"b": 2}})
        assert merged["_labels"] == {"a": 1, "b": 2}

    def test_a_new_placement_replaces_the_old_kind(self):
        assert "placement_group" not in options.merge_options(
            {"placement_group": None}, {"scheduling_strategy": "SPREAD"}
        )


class Group:
    """As much of a placement group as placing needs."""

    def __init__(self, *bundles):
        self.bundle_specs = list(bundles)
        self.bundle_count = len(bundles)
        self.id = narke.PlacementGroupID(b"\1" * 18)


class TestPlacement:
    def test_default_follows_the_running_task(self):
        assert strategies.placement({}, {"CPU": 1}) == {
            "pg": None,
            "bundle": -1,
            "capture": False,
            "strategy": None,
        }

    def test_none_is_outside_of_any_group(self):
        assert strategies.placement({"placement_group": None}, {})["pg"] == b""

    def test_spread(self):
        placed = strategies.placement({"scheduling_strategy": "SPREAD"}, {})
        assert placed["strategy"] == {"kind": "SPREAD"} and placed["pg"] == b""

    def test_affinity(self):
        strategy = NodeAffinitySchedulingStrategy(NODE, soft=True)
        encoded = strategies.placement({"scheduling_strategy": strategy}, {})["strategy"]
        assert encoded["node"] == bytes.fromhex(NODE) and encoded["soft"] is True

    def test_labels(self):
        strategy = NodeLabelSchedulingStrategy({"zone": In("a", "b")}, soft={"gpu": Exists()})
        encoded = strategies.placement({"scheduling_strategy": strategy}, {})["strategy"]
        assert encoded["hard"] == [["zone", "in", ["a", "b"]]]
        assert encoded["soft"] == [["gpu", "exists", []]]

    @pytest.mark.parametrize(
        "text, operator, values",
        [
            ("a", "in", ["a"]),
            ("!a", "not_in", ["a"]),
            ("in(a,b)", "in", ["a", "b"]),
            ("!in(a, b)", "not_in", ["a", "b"]),
        ],
    )
    def test_selector(self, text, operator, values):
        assert strategies.encode_selector({"k": text}) == [["k", operator, values]]

    @pytest.mark.parametrize("text", ["", "in()", "in(a", "!", "a b", "!!a"])
    def test_malformed_selector(self, text):
        with pytest.raises(ValueError, match="label selector"):
            strategies.encode_selector({"k": text})

    def test_group(self):
        options_given = {"placement_group": Group({"CPU": 2}), "placement_group_bundle_index": 0}
        placed = strategies.placement(options_given, {"CPU": 2})
        assert placed["pg"] == b"\1" * 18 and placed["bundle"] == 0

    @pytest.mark.parametrize("index, text", [(1, "bundle index 1"), (-2, "bundle index -2")])
    def test_group_without_such_a_bundle(self, index, text):
        with pytest.raises(ValueError, match=text):
            strategies.placement(
                {"placement_group": Group({"CPU": 2}), "placement_group_bundle_index": index}, {"CPU": 1}
            )

    def test_group_that_is_too_small(self):
        with pytest.raises(ValueError, match="cannot fit into any bundles"):
            strategies.placement({"placement_group": Group({"CPU": 2}, {"CPU": 1})}, {"CPU": 3})
