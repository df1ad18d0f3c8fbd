"""Replicas in gangs on a cluster: where they run, what they know of each other, what ends with one."""

import os

import pytest
import ray
from conftest import until
from ray import serve


class Member:
    def where(self):
        return serve.get_replica_context().gang_context, os.getpid()

    def end(self):
        os._exit(1)


def members(handle, count):
    """The gangs' contexts, by replica, once all have answered."""
    found = {}

    def ask():
        for response in [handle.where.remote() for _ in range(4 * count)]:
            context, pid = response.result()
            found[context.member_replica_ids[context.rank]] = (context, pid)
        return len(found) == count

    until(ask, f"only {len(found)} replicas answer")
    return found


def test_a_gang_starts_and_ends_together(clean):
    app = serve.deployment(
        num_replicas=2,
        gang_scheduling_config={"gang_size": 2, "gang_placement_strategy": "PACK"},
        ray_actor_options={"num_cpus": 0.5},
    )(Member)
    handle = serve.run(app.bind(), name="gang", route_prefix=None)
    first = members(handle, 2)
    contexts = [context for context, _ in first.values()]
    assert sorted(context.rank for context in contexts) == [0, 1]
    assert {context.gang_id for context in contexts} == {contexts[0].gang_id}
    group = ray.util.placement_group_table(ray.util.get_placement_group(contexts[0].pg_name))
    assert group["bundles"] == {0: {"CPU": 0.5}, 1: {"CPU": 0.5}}
    with pytest.raises(Exception, match="."):
        handle.end.remote().result()

    def renewed():
        try:
            context, _ = handle.where.remote().result()
        except Exception:  # on its way to the end
            return None
        return context.gang_id != contexts[0].gang_id

    until(renewed, "the gang does not come back")
    second = members(handle, 2)
    assert not set(first) & set(second) and not {p for _, p in first.values()} & {
        p for _, p in second.values()
    }
    serve.delete("gang")
    names = {context.pg_name for context, _ in second.values()} | {contexts[0].pg_name}
    for name in names:
        with pytest.raises(ValueError):
            until(lambda name=name: not ray.util.get_placement_group(name), "the group stays", 5)


def test_gangs_are_whole():
    with pytest.raises(ValueError, match="multiple of gang_size"):
        serve.deployment(num_replicas=3, gang_scheduling_config={"gang_size": 2})(Member)
