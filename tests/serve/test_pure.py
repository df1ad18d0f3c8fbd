"""The pure parts: deployments on their way to their targets, autoscaling, tables. No cluster."""

import random

import pytest

from narke import serve
from narke.serve._private import tables
from narke.serve._private.autoscaling import desired_replicas
from narke.serve._private.common import DeploymentID, DeploymentStatus, ReplicaState
from narke.serve._private.deployment_state import (
    NO_ROOM_AFTER_S,
    UNHEALTHY_AFTER,
    DeploymentState,
    at_capacity,
)
from narke.serve._private.figures import figures
from narke.serve._private.metrics_text import merge, prefixed
from narke.serve._private.scaling import make_autoscaler
from narke.serve._private.targets import DeploymentTarget
from narke.serve.autoscaling_simulation import simulate
from narke.serve.config import AutoscalingConfig


def target(version="v1", count=2, **options):
    return DeploymentTarget("d", "app", version, num_replicas=count, **options)


class World:
    """A deployment whose orders are carried out at once, unless told otherwise."""

    def __init__(self, aim):
        self.now = 0.0
        self.state = DeploymentState(aim, self.now)
        self.fail_starts = False
        self.has_room = True
        self.starting = []
        self.log = []
        self.least = None

    def step(self):
        orders = self.state.step(self.now)
        for order in orders:
            self.log.append(order.what)
            self.carry_out(order)
        serving = len(self.state.serving())
        self.least = serving if self.least is None else min(self.least, serving)
        return orders

    def carry_out(self, order):
        if order.what == "start":
            if self.fail_starts:
                self.state.on_start_failed(order.replica, "no luck", self.now)
            elif self.has_room:
                self.state.on_alive(order.replica)
                self.state.on_started(order.replica, {})
        elif order.what == "reconfigure":
            self.state.on_reconfigured(order.replica, self.state.target.config_hash(), None)
        else:
            self.state.on_gone(order.replica, "stopped", self.now)

    def run(self, steps=60, every_s=0.1):
        for _ in range(steps):
            self.step()
            self.now += every_s
        return self


def test_a_deployment_becomes_healthy():
    world = World(target(count=3)).run()
    assert world.state.status == DeploymentStatus.HEALTHY and len(world.state.serving()) == 3
    assert sorted(r.rank for r in world.state.replicas.values()) == [0, 1, 2]


@pytest.mark.parametrize("count", [1, 2, 5, 10])
def test_an_update_never_serves_with_less(count):
    world = World(target(count=count)).run()
    world.least = None
    world.state.set_target(target("v2", count), world.now)
    world.run(steps=200)
    assert world.state.status == DeploymentStatus.HEALTHY
    assert {r.version for r in world.state.replicas.values()} == {"v2"}
    assert world.least >= count


def test_an_update_without_room_stops_old_ones_first():
    world = World(target(count=1)).run()
    world.has_room = False
    world.state.set_target(target("v2", 1), world.now)
    world.step()
    assert len(world.state.serving()) == 1
    world.now += NO_ROOM_AFTER_S + 1
    world.step()
    assert len(world.state.serving()) == 0


def test_a_change_of_config_starts_nothing():
    world = World(target()).run()
    world.log.clear()
    world.state.set_target(target(user_config={"a": 1}), world.now)
    world.run()
    assert world.log == ["reconfigure", "reconfigure"] and world.state.status == DeploymentStatus.HEALTHY


def test_scaling_down_prefers_idle_replicas():
    world = World(target(count=3)).run()
    busy = next(iter(world.state.replicas))
    world.state.on_numbers(busy, {"ongoing": 5})
    world.state.scale(1)
    assert world.state.status == DeploymentStatus.DOWNSCALING
    world.run()
    assert list(world.state.replicas) == [busy] and world.state.status == DeploymentStatus.HEALTHY


def test_scaling_down_empties_nodes_but_the_head():
    world = World(target(count=5)).run()
    nodes = ["head", "near", "near", "far", "full"]
    for record, node in zip(world.state.replicas.values(), nodes, strict=True):
        record.facts = {"node_id": node}
    world.state.see_nodes("head", frozenset(), {"head": 1, "near": 2, "far": 1, "full": 9})
    left = []
    for count in (4, 3, 2, 1):
        world.state.scale(count)
        world.run(steps=5)
        left.append(sorted(record.facts["node_id"] for record in world.state.replicas.values()))
    assert left == [["full", "head", "near", "near"], ["full", "head", "near"], ["full", "head"], ["head"]]


def test_the_bound_of_replicas_on_a_node_is_checked():
    @serve.deployment
    class Bounded:
        pass

    for bound in (0, 101):
        with pytest.raises(ValueError, match="max_replicas_per_node"):
            Bounded.options(max_replicas_per_node=bound)
    with pytest.raises(TypeError, match="max_replicas_per_node"):
        Bounded.options(max_replicas_per_node="two")
    with pytest.raises(ValueError, match="placement_group_bundles"):
        Bounded.options(placement_group_bundles=[{"CPU": 1}]).options(max_replicas_per_node=1)
    with pytest.raises(ValueError, match="gang_scheduling_config"):
        Bounded.options(max_replicas_per_node=1, gang_scheduling_config={"gang_size": 2})


def test_replicas_of_a_node_that_is_to_go_are_replaced_first():
    world = World(target(count=4)).run()
    for record, node in zip(world.state.replicas.values(), "aabb", strict=True):
        record.facts = {"node_id": node}
    world.least = None
    world.state.see_nodes("a", frozenset("b"), {})
    world.step()
    assert world.log[-2:] == ["start", "start"] and world.state.status == DeploymentStatus.HEALTHY
    world.run()
    assert [r.facts.get("node_id") for r in world.state.replicas.values()] == ["a", "a", None, None]
    assert world.least == 4


class TestGangs:
    def world(self, count=4, breaks=True):
        return World(target(count=count, gang={"size": 2, "strategy": "PACK", "breaks": breaks})).run()

    def gangs(self, world):
        found = {}
        for record in world.state.replicas.values():
            found.setdefault(record.gang["gang_id"], {})[record.gang["rank"]] = record.id
        return found

    def test_they_start_together(self):
        found = self.gangs(self.world())
        assert [sorted(members) for members in found.values()] == [[0, 1], [0, 1]]

    def test_their_members_know_each_other(self):
        world = self.world()
        for members in self.gangs(world).values():
            wanted = [members[0], members[1]]
            assert all(world.state.replicas[m].gang["member_replica_ids"] == wanted for m in wanted)

    def test_one_that_ends_takes_its_gang_along(self):
        world = self.world()
        (broken, whole) = before = self.gangs(world)
        world.state.on_gone(before[broken][1], "hit", world.now)
        world.run()
        after = self.gangs(world)
        assert len(after) == 2 and broken not in after and after[whole] == before[whole]
        assert world.state.status == DeploymentStatus.HEALTHY

    def test_one_that_ends_alone_is_replaced_in_its_gang(self):
        world = self.world(breaks=False)
        (hurt, whole) = before = self.gangs(world)
        world.state.on_gone(before[hurt][1], "hit", world.now)
        world.run()
        after = self.gangs(world)
        assert after[whole] == before[whole] and after[hurt][0] == before[hurt][0]
        new = world.state.replicas[after[hurt][1]]
        assert new.gang["member_replica_ids"] == [after[hurt][0], after[hurt][1]]

    def test_they_scale_and_stop_whole(self):
        world = self.world()
        world.state.scale(1)
        world.run()
        assert world.state.count == 2 and len(self.gangs(world)) == 1
        world.state.scale(5)
        world.run()
        assert world.state.count == 6 and {len(each) for each in self.gangs(world).values()} == {2}
        assert world.log.count("kill") == 0

    def test_an_update_never_serves_with_less(self):
        world = self.world()
        world.least = None
        world.log.clear()
        world.state.set_target(
            target("v2", 4, gang={"size": 2, "strategy": "PACK", "breaks": True}), world.now
        )
        world.run(steps=200)
        assert world.least >= 4 and world.log.count("kill") == 0
        assert {r.version for r in world.state.replicas.values()} == {"v2"}


def test_constructors_that_fail_end_in_deploy_failed():
    world = World(target(count=1))
    world.fail_starts = True
    world.run(steps=400)
    assert world.state.status == DeploymentStatus.DEPLOY_FAILED and "no luck" in world.state.message
    assert world.log.count("start") == 3 and not world.state.replicas


def test_a_new_target_is_tried_after_a_failure():
    world = World(target(count=1))
    world.fail_starts = True
    world.run(steps=400)
    world.fail_starts = False
    world.state.set_target(target("v2", 1), world.now)
    assert world.run().state.status == DeploymentStatus.HEALTHY


def test_a_dead_replica_is_replaced():
    world = World(target(count=2)).run()
    world.state.on_gone(next(iter(world.state.replicas)), "killed", world.now)
    assert world.state.status == DeploymentStatus.UNHEALTHY
    assert world.run().state.status == DeploymentStatus.HEALTHY and len(world.state.serving()) == 2


def test_an_ill_replica_is_replaced_after_some_failures():
    world = World(target(count=1)).run()
    (replica,) = world.state.replicas
    for _ in range(UNHEALTHY_AFTER - 1):
        world.state.on_ill(replica, "cough")
    world.run(steps=3)
    assert list(world.state.replicas) == [replica]
    world.state.on_ill(replica, "cough")
    world.run()
    assert replica not in world.state.replicas and world.state.status == DeploymentStatus.HEALTHY


def test_deleting_stops_everything():
    world = World(target(count=3)).run()
    world.state.delete()
    world.run()
    assert world.state.is_gone()


@pytest.mark.parametrize("seed", range(30))
def test_whatever_happens_it_settles(seed):
    """Random targets, deaths, illness and failing starts; once they stop, the target is reached."""
    rng = random.Random(seed)
    world = World(target(count=rng.randint(1, 5)))
    for version in range(60):
        world.fail_starts = rng.random() < 0.2
        event = rng.random()
        replicas = list(world.state.replicas)
        if event < 0.2:
            world.state.set_target(target(f"v{version}", rng.randint(1, 5)), world.now)
        elif event < 0.4 and replicas:
            world.state.on_gone(rng.choice(replicas), "killed", world.now)
        elif event < 0.6 and replicas:
            world.state.on_ill(rng.choice(replicas), "ill")
        world.run(steps=rng.randint(1, 5), every_s=0.3)
        assert len({r.rank for r in world.state._active()}) <= len(world.state._active())
    world.fail_starts = False
    world.state.set_target(target("last", 3), world.now)
    world.run(steps=300)
    assert world.state.status == DeploymentStatus.HEALTHY, seed
    assert [r.version for r in world.state.replicas.values()] == ["last"] * 3


def test_a_table_names_what_serves():
    world = World(target(count=2)).run()
    first, second = world.state.replicas
    world.state.replicas[second].state = ReplicaState.STOPPING
    table = tables.build(
        4, {"app#d": world.state}, {first: b"a" * 16, second: b"b" * 16}, [("/", "app", "app#d")], 1500
    )
    (deployment,) = table["deployments"]
    assert [r["id"] for r in deployment["replicas"]] == [first]
    assert table["routes"] == [
        {"prefix": "/", "app": "app", "deployment": "app#d", "timeout_ms": 1500, "body_limit": 0}
    ]


class TestAutoscaling:
    def scaler(self, **config):
        config = {
            "min_replicas": 1,
            "max_replicas": 10,
            "target_ongoing_requests": 2,
            "look_back_period_s": 2,
        } | config
        return make_autoscaler(AutoscalingConfig(**config).model_dump(exclude={"policy"}), None)

    def simulate(self, scaler, load, seconds, start=1, every_s=0.1):
        """The numbers of replicas over time, when `load(t)` requests are there at time t, spread evenly."""
        count, history = start, []
        deployment = DeploymentID("d", "app")
        for step in range(int(seconds / every_s)):
            now = step * every_s
            names = [f"r{i}" for i in range(count)]
            scaler.keep_replicas(set(names))
            for name in names:
                scaler.on_running(name, load(now) / count, now)
            scaler.on_queued("proxy", 0 if count else load(now), now)
            count = scaler.decide(count, deployment, names, now)
            history.append(count)
        return history

    @pytest.mark.parametrize(
        "requests, current, expected",
        [(0, 0, 0), (1, 0, 1), (10, 0, 5), (10, 5, 5), (20, 5, 10), (5, 5, 2.5), (0, 1, 0)],
    )
    def test_each_replica_gets_its_number_of_requests(self, requests, current, expected):
        assert (
            desired_replicas(requests, current, AutoscalingConfig(min_replicas=0, max_replicas=100))
            == expected
        )

    def test_factors_damp_and_amplify(self):
        slow = AutoscalingConfig(max_replicas=100, upscaling_factor=0.5, downscaling_factor=0.5)
        assert desired_replicas(20, 5, slow) == 7.5 and desired_replicas(5, 5, slow) == 3.75

    def test_load_is_followed_after_the_delays(self):
        scaler = self.scaler(upscale_delay_s=1, downscale_delay_s=3)
        history = self.simulate(scaler, lambda t: 12 if t < 6 else 2, 20)
        assert history[5] == 1 and max(history) == 6 and history[-1] == 1

    def test_a_short_peak_changes_nothing(self):
        scaler = self.scaler(upscale_delay_s=3, look_back_period_s=0.5)
        assert set(self.simulate(scaler, lambda t: 20 if 2 < t < 3 else 1, 10)) == {1}

    def test_bounds_hold(self):
        scaler = self.scaler(upscale_delay_s=0, min_replicas=2, max_replicas=4)
        history = self.simulate(scaler, lambda t: 1000, 5, start=2)
        assert history[-1] == 4
        assert (
            self.simulate(self.scaler(min_replicas=2, downscale_delay_s=0), lambda t: 0, 5, start=3)[-1] == 2
        )

    def test_to_zero_and_back(self):
        scaler = self.scaler(min_replicas=0, downscale_delay_s=1, downscale_to_zero_delay_s=4)
        history = self.simulate(scaler, lambda t: 0 if t < 10 else 3, 12)
        assert history[20] == 1 and history[80] == 0 and history[-1] >= 1

    def test_policies_of_ones_own(self):
        import cloudpickle

        config = AutoscalingConfig(
            max_replicas=9, upscale_delay_s=0, policy={"policy_function": lambda ctx: (7, {"n": 1})}
        )
        fields = config.model_dump(exclude={"policy"})
        scaler = make_autoscaler(fields, config.policy.get_serialized_policy_def())
        assert self.simulate(scaler, lambda t: 0, 1)[-1] == 7 and scaler.policy_state == {"n": 1}
        assert cloudpickle.loads(config.policy.get_serialized_policy_def())(None)[0] == 7


class TestTargetCapacity:
    @pytest.mark.parametrize(
        "count, percent, expected",
        [(10, None, 10), (10, 100, 10), (10, 50, 5), (3, 50, 2), (10, 1, 1), (10, 0, 0), (0, 50, 0)],
    )
    def test_a_share_of_the_replicas(self, count, percent, expected):
        assert at_capacity(count, percent) == expected

    def test_replicas_follow_it(self):
        world = World(target(count=4)).run()
        for percent, expected in ((50, 2), (0, 0), (None, 4)):
            world.state.set_capacity(percent)
            world.run()
            assert len(world.state.serving()) == expected, percent

    def test_it_narrows_the_bounds_of_autoscaling(self):
        config = AutoscalingConfig(min_replicas=2, max_replicas=10, upscale_delay_s=0)
        scaler = make_autoscaler(config.model_dump(exclude={"policy"}), None)
        scaler.capacity = 50
        assert scaler.bounds() == (1, 5) and scaler.bounded(100) == 5


class TestSimulation:
    def test_load_is_followed(self):
        config = AutoscalingConfig(
            min_replicas=1, max_replicas=20, upscale_delay_s=1, downscale_delay_s=5, look_back_period_s=2
        )
        course = simulate(config, lambda t: 200 if 5 <= t < 25 else 5, seconds=60)
        peak = max(moment.running for moment in course)
        assert 9 <= peak <= 20 and course[0].running == 1 and course[-1].running == 1
        assert course[-1].queued == 0

    def test_a_slow_start_costs_latency(self):
        config = AutoscalingConfig(max_replicas=20, upscale_delay_s=0.5)

        def worst(startup_s):
            course = simulate(config, lambda t: 150, seconds=20, startup_s=startup_s)
            return max(moment.latency_s for moment in course)

        assert worst(5) > worst(0.2)

    def test_policies_of_ones_own(self):
        fixed = AutoscalingConfig(
            max_replicas=9, upscale_delay_s=0, policy={"policy_function": lambda ctx: (7, {})}
        )
        assert simulate(fixed, lambda t: 1, seconds=3)[-1].target == 7


PROXY = """# HELP serve_num_http_requests_total Requests.
# TYPE serve_num_http_requests_total counter
serve_num_http_requests_total{route="/a",method="GET",application="one",status_code="200",node_id="n"} 7
serve_num_http_requests_total{route="/a",method="GET",application="one",status_code="500",node_id="n"} 3
serve_num_http_error_requests_total{route="/a",error_code="500",method="GET",application="one",node_id="n"} 3
serve_num_ongoing_http_requests{node_id="n"} 2
serve_http_request_latency_ms_bucket{route="/a",application="one",node_id="n",le="10"} 4
serve_http_request_latency_ms_bucket{route="/a",application="one",node_id="n",le="+Inf"} 10
serve_http_request_latency_ms_sum{route="/a",application="one",node_id="n"} 120.5
"""


def test_figures_of_routes_are_added_up():
    shown = figures(PROXY, {}, 5.0)
    [route] = shown["routes"]
    assert (route["requests"], route["errors"], route["latency_ms_sum"]) == (10, 3, 120.5)
    assert route["buckets"] == [[10.0, 4], [None, 10]]
    assert shown["ongoing"] == 2 and shown["time_s"] == 5.0


def test_metrics_get_a_prefix():
    first, kind, sample, *_ = prefixed(PROXY, "ray_").splitlines()
    assert first == "# HELP ray_serve_num_http_requests_total Requests."
    assert kind == "# TYPE ray_serve_num_http_requests_total counter"
    assert sample.startswith('ray_serve_num_http_requests_total{route="/a"')


def test_expositions_are_merged():
    one = '# HELP a text\n# TYPE a counter\na{n="1"} 1\n'
    two = '# HELP a text\n# TYPE a counter\na{n="2"} 2\n# HELP b t\n# TYPE b gauge\nb 3\n'
    lines = merge([one, two]).splitlines()
    assert lines == [
        "# HELP a text",
        "# TYPE a counter",
        'a{n="1"} 1',
        'a{n="2"} 2',
        "# HELP b t",
        "# TYPE b gauge",
        "b 3",
    ]
