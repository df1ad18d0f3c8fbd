"""The ways to connect of early releases: what they hand to init()."""

import types

import pytest

import narke
from narke import client_builder
from narke.util import client, client_connect

CONTEXT = types.SimpleNamespace(
    dashboard_url="h:1", python_version="3", ray_version="2", ray_commit="c", address_info={}
)


@pytest.fixture
def inits(monkeypatch):
    calls = []

    def init(**arguments):
        calls.append(arguments)
        return CONTEXT

    for module in (client_builder, client_connect, client):
        monkeypatch.setattr(module.narke, "init", init, raising=False)
        monkeypatch.setattr(module.narke, "is_initialized", lambda: False, raising=False)
    return calls


@pytest.mark.parametrize(
    ("address", "expected"),
    [(None, None), ("local", "local"), ("ray://h:10001", "ray://h:10001"), ("h:6379", "ray://h:6379")],
)
def test_builder(inits, address, expected):
    context = client_builder.client(address).namespace("n").env({"env_vars": {}}).connect()
    assert inits == [{"address": expected, "namespace": "n", "runtime_env": {"env_vars": {}}}]
    assert context.dashboard_url == "h:1"


def test_address_of_an_unknown_module():
    with pytest.raises(RuntimeError, match="no_such_module"):
        client_builder.client("no_such_module://x")


def test_connect(inits):
    info = client_connect.connect("h:1", namespace="n", ray_init_kwargs={"log_to_driver": False})
    assert inits == [{"address": "ray://h:1", "namespace": "n", "log_to_driver": False}]
    assert info["num_clients"] == 1 and info["ray_version"] == "2"


def test_connecting_twice_is_refused(inits, monkeypatch):
    monkeypatch.setattr(client_connect.narke, "is_initialized", lambda: True)
    with pytest.raises(RuntimeError, match="already connected"):
        client_connect.connect("h:1")


def function():
    return 1


def test_stub_is_the_package(inits):
    assert client.ray.remote(function).__class__ is narke.remote(function).__class__
    assert client.ray.get is narke.get
    assert not client.ray.is_connected() and client.num_connected_contexts() == 0
    assert client.ray.set_context(client.ray.get_context()) is client.ray
    with pytest.raises(NotImplementedError, match="one connection"):
        client.ray.set_context(object())
