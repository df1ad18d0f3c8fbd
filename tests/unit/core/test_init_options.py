"""Parameters of `init`, checked before anything starts; what a node of this machine offers."""

import inspect

import pytest

from narke import _init
from narke._private import init_options, machine


def check(**given):
    hidden = given.pop("kwargs", {})
    parameters = inspect.signature(_init.init).parameters.values()
    defaults = {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}
    init_options.check_init({**defaults, "kwargs": hidden, **given})


@pytest.mark.parametrize(
    "given, error, text",
    [
        ({"num_cpus": -1}, ValueError, "CPU"),
        ({"num_cpus": 1.5}, ValueError, "CPU.*whole"),
        ({"num_cpus": "2"}, TypeError, "CPU"),
        ({"num_cpus": float("nan")}, ValueError, "CPU.*finite"),
        ({"num_gpus": -1}, ValueError, "GPU"),
        ({"resources": {"CPU": 1}}, ValueError, "num_cpus"),
        ({"resources": {"a": -1}}, ValueError, "a cannot be negative"),
        ({"resources": [1]}, TypeError, "resources"),
        ({"labels": {"a": 1}}, ValueError, "labels"),
        ({"labels": {"ray.io/x": "1"}}, ValueError, "ray.io"),
        ({"object_store_memory": 1}, ValueError, "minimum"),
        ({"object_store_memory": "1G"}, TypeError, "object_store_memory"),
        ({"namespace": ""}, ValueError, "namespace"),
        ({"namespace": 1}, TypeError, "namespace"),
        ({"address": 1}, TypeError, "address"),
        ({"log_to_driver": "yes"}, TypeError, "log_to_driver"),
        ({"local_mode": True}, RuntimeError, "local_mode"),
        ({"dashboard_port": 99999}, ValueError, "dashboard_port"),
        ({"kwargs": {"bogus": 1}}, RuntimeError, "bogus"),
        ({"kwargs": {"_memory": -1}}, ValueError, "_memory"),
    ],
    ids=str,
)
def test_bad_option_is_refused_by_name(given, error, text):
    with pytest.raises(error, match=text):
        check(**given)


def test_defaults_are_accepted():
    check()


def test_hidden_options_are_accepted():
    check(kwargs=dict.fromkeys(init_options.HIDDEN_OPTIONS))


def test_joining_refuses_orders():
    options = dict.fromkeys(("num_cpus", "num_gpus", "resources", "labels", "object_store_memory"))
    init_options.refuse_orders(options, "there")
    with pytest.raises(ValueError, match="num_cpus and labels.*there|there.*num_cpus and labels"):
        init_options.refuse_orders({**options, "num_cpus": 2, "labels": {}}, "there")


def shape(**given):
    defaults = dict.fromkeys(("num_cpus", "num_gpus", "resources", "labels", "object_store_memory", "memory"))
    return init_options.node_shape(**{**defaults, "ip": "10.0.0.1", "is_head": True, **given})


class TestNodeShape:
    def test_chosen_amounts(self):
        made = shape(num_cpus=3, num_gpus=2, resources={"a": 1.5}, object_store_memory=10**8, memory=10**9)
        assert made.object_store_bytes == 10**8
        assert made.resources == {
            "CPU": 3.0,
            "GPU": 2.0,
            "a": 1.5,
            "memory": 1e9,
            "object_store_memory": 1e8,
            "node:10.0.0.1": 1.0,
            "node:__internal_head__": 1.0,
            **{
                name: amount
                for name, amount in made.resources.items()
                if name.startswith("accelerator_type:")
            },
        }

    def test_found_amounts(self):
        made = shape()
        assert made.resources["CPU"] == machine.cpu_count() >= 1
        assert made.object_store_bytes >= init_options.MIN_STORE_BYTES
        assert made.resources["memory"] > 0

    def test_nothing_of_a_resource_is_left_out(self):
        assert "CPU" not in shape(num_cpus=0).resources

    def test_override_by_environment(self, monkeypatch):
        monkeypatch.setenv("RAY_OVERRIDE_RESOURCES", '{"b": 4}')
        assert shape(resources={"b": 1}).resources["b"] == 4.0


class TestMachine:
    def test_visible_gpus(self, monkeypatch):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, 5")
        assert machine.gpu_ids() == ["2", "5"] and machine.gpu_count() == 2

    @pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
    def test_hidden_gpus(self, monkeypatch, hidden):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        assert machine.gpu_count() == 0

    def test_address_can_be_forced(self, monkeypatch):
        monkeypatch.setenv("RAY_NODE_IP_ADDRESS", "10.1.2.3")
        assert machine.own_address() == "10.1.2.3"
