"""Starting, joining and leaving a cluster; what the cluster and the runtime context say about themselves."""

import pathlib
import re

import pytest
import ray
from waiting import hold, wait_for

SMALL = {"address": "local", "num_cpus": 1, "include_dashboard": False, "log_to_driver": False}


class TestShared:
    """Questions that one running cluster answers."""

    pytestmark = pytest.mark.usefixtures("cluster")

    def test_is_initialized(self):
        assert ray.is_initialized() is True

    def test_second_init_is_refused(self):
        with pytest.raises(RuntimeError, match="Maybe you called ray.init twice by accident"):
            ray.init(address="local")

    def test_second_init_can_be_ignored(self, cluster):
        again = ray.init(ignore_reinit_error=True)
        assert again.address_info["session_dir"] == cluster.address_info["session_dir"]

    def test_address_info(self, cluster):
        info = cluster.address_info
        for field in ("node_ip_address", "session_dir", "node_id", "gcs_address", "address"):
            assert info[field], field
        assert info["node_id"] == ray.get_runtime_context().get_node_id()

    def test_context_describes_versions(self, cluster):
        assert cluster.python_version.startswith("3.")
        assert re.match(r"\d+\.\d+", cluster.ray_version)
        assert cluster.dashboard_url in ("", None)

    @pytest.mark.filterwarnings("ignore")
    def test_context_still_reads_like_a_dict(self, cluster):
        assert cluster["node_id"] == cluster.address_info["node_id"]
        assert cluster.get("session_dir") == cluster.address_info["session_dir"]
        assert set(cluster.keys()) == set(cluster.address_info)
        assert len(cluster) == len(cluster.address_info)
        with pytest.raises(KeyError):
            cluster["no such field"]

    @pytest.mark.parametrize(
        "resource, amount", [("CPU", 4.0), ("GPU", 2.0), ("custom", 4.0), ("node:__internal_head__", 1.0)]
    )
    def test_cluster_resources(self, resource, amount):
        assert ray.cluster_resources()[resource] == amount

    def test_memory_is_a_resource(self):
        totals = ray.cluster_resources()
        assert totals["memory"] > 0
        assert totals["object_store_memory"] > 0

    def test_node_is_a_resource(self):
        totals = ray.cluster_resources()
        address = ray.nodes()[0]["NodeManagerAddress"]
        assert totals[f"node:{address}"] == 1.0

    def test_nodes(self):
        (node,) = ray.nodes()
        assert node["Alive"] is True and node["alive"] is True
        assert node["NodeID"] == ray.get_runtime_context().get_node_id()
        assert node["Resources"]["CPU"] == 4.0
        assert node["Resources"]["custom"] == 4.0
        assert isinstance(node["NodeManagerHostname"], str)
        assert isinstance(node["NodeManagerPort"], int)
        assert isinstance(node["Labels"], dict)

    def test_available_resources_follow_use(self, tmp_path):
        gate = tmp_path / "gate"

        @ray.remote(num_cpus=2, resources={"custom": 1})
        def occupy():
            hold(gate)

        ref = occupy.remote()
        wait_for(lambda: ray.available_resources().get("CPU") == 2.0, what="2 free CPUs")
        assert ray.available_resources()["custom"] == 3.0
        gate.touch()
        ray.get(ref)
        wait_for(lambda: ray.available_resources().get("CPU") == 4.0, what="4 free CPUs")
        assert ray.cluster_resources()["CPU"] == 4.0


class TestRuntimeContext:
    pytestmark = pytest.mark.usefixtures("cluster")

    def test_driver(self):
        context = ray.get_runtime_context()
        assert re.fullmatch("[0-9a-f]{8}", context.get_job_id())
        assert re.fullmatch("[0-9a-f]{56}", context.get_node_id())
        assert re.fullmatch("[0-9a-f]{56}", context.get_worker_id())
        assert context.get_task_id() is None
        assert context.get_actor_id() is None
        assert isinstance(context.namespace, str) and context.namespace

    def test_driver_has_no_assigned_resources(self):
        with pytest.raises(AssertionError, match="only available when the process is a"):
            ray.get_runtime_context().get_assigned_resources()

    def test_task(self):
        @ray.remote(num_cpus=0.5, num_gpus=1, resources={"custom": 2})
        def describe():
            context = ray.get_runtime_context()
            return {
                "job": context.get_job_id(),
                "node": context.get_node_id(),
                "task": context.get_task_id(),
                "actor": context.get_actor_id(),
                "worker": context.get_worker_id(),
                "namespace": context.namespace,
                "resources": context.get_assigned_resources(),
                "name": context.get_task_name(),
                "function": context.get_task_function_name(),
                "group": context.get_placement_group_id(),
                "gpus": context.get_accelerator_ids()["GPU"],
            }

        ref = describe.options(name="describer").remote()
        seen = ray.get(ref)
        here = ray.get_runtime_context()
        assert seen["job"] == here.get_job_id()
        assert seen["node"] == here.get_node_id()
        assert seen["namespace"] == here.namespace
        assert seen["task"] == ref.task_id().hex()
        assert seen["actor"] is None and seen["group"] is None
        assert seen["worker"] != here.get_worker_id()
        assert seen["resources"] == {"CPU": 0.5, "GPU": 1.0, "custom": 2.0}
        assert seen["name"] == "describer"
        assert seen["function"].endswith("describe")
        assert len(seen["gpus"]) == 1

    def test_actor(self):
        @ray.remote(num_cpus=1)
        class Describer:
            def describe(self):
                context = ray.get_runtime_context()
                return {
                    "actor": context.get_actor_id(),
                    "name": context.get_actor_name(),
                    "task": context.get_task_name(),
                    "again": context.was_current_actor_reconstructed,
                    "resources": context.get_assigned_resources(),
                    "current": context.current_actor,
                }

        actor = Describer.options(name="describer-actor").remote()
        seen = ray.get(actor.describe.remote())
        assert re.fullmatch("[0-9a-f]{32}", seen["actor"])
        assert seen["name"] == "describer-actor"
        assert seen["task"] == "Describer.describe"
        assert seen["again"] is False
        assert seen["resources"] == {"CPU": 1.0}
        assert seen["current"] == actor

    def test_current_actor_is_for_actors_only(self):
        with pytest.raises(RuntimeError, match="only available in an actor"):
            ray.get_runtime_context().current_actor  # noqa: B018

    def test_two_tasks_have_two_ids(self):
        @ray.remote
        def task_id():
            return ray.get_runtime_context().get_task_id()

        assert len(set(ray.get([task_id.remote() for _ in range(5)]))) == 5


@pytest.fixture(scope="class")
def first():
    """The driver that starts a cluster for others to join."""
    ray.shutdown()
    yield ray.init(**SMALL, namespace="shared")
    ray.shutdown()


class TestSecondDriver:
    JOIN = """
import ray
ray.init({address!r}, namespace="shared", log_to_driver=False)
counter = ray.get_actor("counter")
print("count", ray.get(counter.next.remote()))
print("job", ray.get_runtime_context().get_job_id())
print("node", ray.get_runtime_context().get_node_id())
"""

    @pytest.fixture
    def counter(self, first):
        @ray.remote(num_cpus=0)
        class Counter:
            def __init__(self):
                self.count = 0

            def next(self):
                self.count += 1
                return self.count

        actor = Counter.options(name="counter").remote()
        ray.get(actor.next.remote())
        yield actor
        ray.kill(actor)

    @pytest.mark.parametrize("by", ["auto", "address"])
    def test_joins(self, first, counter, program, by):
        cluster_address = first.address_info["gcs_address"]
        address = "auto" if by == "auto" else cluster_address
        variables = {"RAY_ADDRESS": cluster_address} if by == "auto" else {}
        ended = program(self.JOIN.format(address=address), **variables)
        assert ended.returncode == 0, ended.stderr
        said = dict(line.split(" ", 1) for line in ended.stdout.splitlines() if " " in line)
        assert said["count"] == "2"
        assert said["node"] == ray.get_runtime_context().get_node_id()
        assert said["job"] != ray.get_runtime_context().get_job_id()
        assert ray.get(counter.next.remote()) == 3

    def test_joining_cannot_set_resources(self, first, program):
        source = f"import ray\nray.init({first.address_info['gcs_address']!r}, num_cpus=3)"
        ended = program(source)
        assert ended.returncode != 0
        assert "ValueError" in ended.stderr and "num_cpus" in ended.stderr


@pytest.mark.usefixtures("no_cluster")
class TestLifeCycle:
    def test_init_shutdown_init(self):
        for _ in range(2):
            assert ray.is_initialized() is False
            ray.init(**SMALL)
            assert ray.is_initialized() is True
            ray.shutdown()
        assert ray.is_initialized() is False

    def test_shutdown_twice_is_harmless(self):
        ray.shutdown()
        ray.shutdown()
        assert ray.is_initialized() is False

    def test_context_manager_shuts_down(self):
        with ray.init(**SMALL) as context:
            assert context.address_info["session_dir"]
            assert ray.is_initialized()
        assert ray.is_initialized() is False

    def test_context_disconnects(self):
        context = ray.init(**SMALL)
        context.disconnect()
        assert ray.is_initialized() is False

    def test_namespace(self):
        ray.init(**SMALL, namespace="mine")
        assert ray.get_runtime_context().namespace == "mine"

    def test_remote_function_outlives_its_cluster(self):
        @ray.remote
        def double(value):
            return 2 * value

        for _ in range(2):
            ray.init(**SMALL)
            assert ray.get(double.remote(4)) == 8
            ray.shutdown()

    def test_before_init_nothing_is_answered(self):
        for question in (ray.cluster_resources, ray.nodes, ray.available_resources):
            with pytest.raises(ray.exceptions.RaySystemError, match="has not been started"):
                question()


class TestEnd:
    PROGRAM = """
import ray
context = ray.init(address="local", num_cpus=1, include_dashboard=False)
ray.get(ray.remote(lambda: 1).remote())
print(context.address_info["session_dir"])
{last}
"""

    @pytest.mark.parametrize("last", ["", "ray.shutdown()", "raise SystemExit(3)", "1 / 0"])
    def test_no_process_outlives_its_driver(self, program, last):
        session = program(self.PROGRAM.format(last=last)).stdout.split()[-1]
        wait_for(lambda: not processes_naming(session), what=f"the end of the processes of {session}")


def processes_naming(text):
    """The ids of the processes whose command line holds `text`."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class TestAutoInit:
    FIRST_CALL = """
import os, ray
@ray.remote
def square(value):
    return value * value
assert not ray.is_initialized()
{call}
assert ray.is_initialized()
"""

    @pytest.mark.parametrize("call", ["print(ray.get(square.remote(7)))", "print(ray.get(ray.put(49)))"])
    def test_first_call_starts_a_cluster(self, program, call):
        ended = program(self.FIRST_CALL.format(call=call), RAY_ADDRESS="local")
        assert ended.returncode == 0, ended.stderr
        assert "49" in ended.stdout.split()


@pytest.mark.usefixtures("no_cluster")
@pytest.mark.parametrize(
    "option, error, text",
    [
        ({"num_cpus": -1}, ValueError, "CPU"),
        ({"num_gpus": -1}, ValueError, "GPU"),
        ({"num_cpus": 1.5}, ValueError, "CPU"),
        ({"resources": {"part": -1}}, ValueError, "part"),
        ({"object_store_memory": 1}, ValueError, "minimum"),
        ({"bogus": 1}, RuntimeError, "bogus"),
        ({"namespace": ""}, ValueError, "namespace"),
        ({"namespace": 1}, TypeError, "namespace"),
    ],
    ids=lambda value: repr(value) if isinstance(value, dict) else "",
)
def test_bad_option_is_refused_by_name(option, error, text):
    with pytest.raises(error, match=text):
        ray.init(**{**SMALL, **option})
