"""Requests for resources and their managers."""

from __future__ import annotations

import pytest

import narke
from narke.air import ResourceRequest
from narke.air.execution import FixedResourceManager, PlacementGroupResourceManager


@narke.remote
def held() -> dict[str, float]:
    return narke.get_runtime_context().get_assigned_resources()


def test_a_request_knows_its_bundles() -> None:
    request = ResourceRequest([{"CPU": 1, "GPU": 0}, {"CPU": 2}])
    assert (request.bundles, request.head_cpus) == ([{"CPU": 1.0}, {"CPU": 2.0}], 1)
    assert request.required_resources == {"CPU": 3.0}
    assert request == ResourceRequest([{"CPU": 1}, {"CPU": 2}])
    empty = ResourceRequest([{}, {"CPU": 2}])
    assert (empty.head_bundle_is_empty, empty.bundles, empty.head_cpus) == (True, [{"CPU": 2.0}], 0)


def test_a_budget_is_not_exceeded() -> None:
    manager = FixedResourceManager({"CPU": 3})
    two = ResourceRequest([{"CPU": 2}])
    assert manager.acquire_resources(two) is None
    manager.request_resources(two)
    manager.request_resources(two)
    first = manager.acquire_resources(two)
    assert first is not None
    assert not manager.has_resources_ready(two)
    manager.free_resources(first)
    assert manager.has_resources_ready(two)
    manager.cancel_resource_request(two)
    assert not manager.has_resources_ready(two)


def test_placement_groups_hold_what_was_acquired(cluster) -> None:
    manager = PlacementGroupResourceManager()
    request = ResourceRequest([{"CPU": 2}, {"CPU": 1}])
    manager.request_resources(request)
    narke.wait(manager.get_resource_futures(), timeout=30)
    acquired = manager.acquire_resources(request)
    assert acquired is not None
    head, other = acquired.annotate_remote_entities([held, held])
    got = narke.get([head.remote(), other.remote()])
    assert [each["CPU"] for each in got] == [2, 1]
    with pytest.raises(RuntimeError, match="bundles"):
        acquired.annotate_remote_entities([held] * 3)
    manager.free_resources(acquired)
    manager.clear()
