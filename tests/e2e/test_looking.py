"""Looking into running programs: stacks, profiles, references, titles; from the command line and over HTTP."""

import ctypes
import json
import os
import pathlib
import subprocess
import sys
import time

import pytest
from driving import command
from waiting import hold, mark, marks, wait_for

import narke
from narke._private import control, state

pytestmark = pytest.mark.usefixtures("cluster")


def narke_command(*words, **environment):
    code = "from narke._cli import main; import sys; sys.exit(main())"
    address = narke.get_runtime_context().gcs_address
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, "RAY_ADDRESS": address, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


@narke.remote
def double(number):
    return 2 * number


@narke.remote(num_cpus=0)
class Hung:
    def pid(self):
        return os.getpid()

    def waits(self, folder):
        mark(folder, "waits")
        hold(pathlib.Path(folder) / "gate")

    def hangs_in_c_with_the_lock(self, folder):
        mark(folder, "hangs")
        ctypes.PyDLL(None).sleep(600)  # a PyDLL keeps Python's lock

    def spins(self, folder):
        mark(folder, "spins")
        gate = pathlib.Path(folder) / "gate"
        while not gate.exists():
            burn()


def burn():
    return sum(i * i for i in range(2000))


@narke.remote(num_cpus=0)
class Stuck:
    async def pid(self):
        return os.getpid()

    async def blocks_its_loop(self, folder):
        mark(folder, "blocks")
        hold(pathlib.Path(folder) / "gate")


@pytest.fixture
def actor():
    made = Hung.remote()
    yield made
    narke.kill(made)


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    (tmp_path / "gate").touch()


def functions_of(pid):
    answer = control.call("probe", what="stack", pid=pid)
    main = next(thread for thread in answer["threads"] if thread["is_main"])
    return [frame["function"] for frame in main["frames"]], main


def started(folder, name):
    wait_for(lambda: marks(folder, name), what=f"the mark {name}")


class TestStacks:
    def test_of_a_method_that_waits(self, actor, folder):
        pid = narke.get(actor.pid.remote())
        actor.waits.remote(folder)
        started(folder, "waits")
        # Between two sleeps it holds the lock for a moment.
        functions, main = wait_for(
            lambda: (found := functions_of(pid)) and not found[1]["holds_gil"] and found, what="a sleep"
        )
        assert "Hung.waits" in functions
        line = next(frame["line"] for frame in main["frames"] if frame["function"] == "Hung.waits")
        source = pathlib.Path(__file__).read_text().splitlines()
        assert "hold(" in source[line - 1]

    def test_of_a_worker_that_hangs_in_c_and_keeps_the_lock(self, actor, folder):
        pid = narke.get(actor.pid.remote())
        actor.hangs_in_c_with_the_lock.remote(folder)
        started(folder, "hangs")
        functions, main = wait_for(
            lambda: (found := functions_of(pid)) and found[1]["holds_gil"] and found, what="the hang"
        )
        assert functions[0] == "Hung.hangs_in_c_with_the_lock"

    def test_of_an_async_actor_whose_loop_is_blocked(self, folder):
        stuck = Stuck.remote()
        pid = narke.get(stuck.pid.remote())
        stuck.blocks_its_loop.remote(folder)
        started(folder, "blocks")
        functions, _ = functions_of(pid)
        assert "Stuck.blocks_its_loop" in functions
        (folder / "gate").touch()
        assert narke.get(stuck.pid.remote()) == pid  # the loop goes on with what came meanwhile
        narke.kill(stuck)

    def test_of_the_driver_itself(self):
        functions, _ = functions_of(os.getpid())
        assert "TestStacks.test_of_the_driver_itself" in functions

    def test_on_the_command_line(self, actor, folder):
        pid = narke.get(actor.pid.remote())
        actor.waits.remote(folder)
        started(folder, "waits")
        done = narke_command("stack")
        assert done.returncode == 0, done.stderr
        assert f"Process {pid} (worker" in done.stdout
        assert "Hung.waits" in done.stdout
        assert f"Process {os.getpid()} (driver" in done.stdout
        only = narke_command("stack", str(pid))
        assert only.stdout.count("Process ") == 1

    def test_of_the_engines_and_the_node(self, actor, folder):
        pid = narke.get(actor.pid.remote())
        actor.waits.remote(folder)
        started(folder, "waits")
        too_large = double.options(num_cpus=1000).remote(1)
        done = narke_command("stack", "--engine")
        assert done.returncode == 0, done.stderr
        assert "runs Hung.waits for" in done.stdout
        assert f"(pid {pid}) an actor" in done.stdout
        assert "{CPU:10000000}: 1 queued" in done.stdout  # in the driver, in units of 1/10,000
        assert "'double' {CPU: 1000} waits for other resources" in done.stdout
        narke.cancel(too_large)

    @pytest.mark.parametrize(
        ("words", "told"),
        [(["stack", "1"], "no worker or driver"), (["profile", "1"], "There is no process 1")],
    )
    def test_a_process_that_is_no_program_of_the_cluster(self, words, told):
        done = narke_command(*words)
        assert done.returncode == 1
        assert told in done.stderr

    @pytest.mark.parametrize(
        ("fields", "told"),
        [
            ({"what": "stack"}, "pid or worker_id"),
            ({"what": "secrets", "pid": 1}, "not for 'secrets'"),
            ({"what": "stack", "worker_id": "xyz"}, "no worker id"),
            ({"what": "cpu_profile", "pid": 1, "duration": 10**6}, "1 to 300 seconds"),
        ],
    )
    def test_malformed_questions(self, fields, told):
        with pytest.raises(ValueError, match=told):
            control.call("probe", **fields)


class TestProfiles:
    def test_what_a_method_computes(self, actor, folder, tmp_path):
        pid = narke.get(actor.pid.remote())
        actor.spins.remote(folder)
        started(folder, "spins")
        done = narke_command("profile", str(pid), "--duration", "1")
        assert done.returncode == 0, done.stderr
        assert "samples of process" in done.stdout
        assert "burn" in done.stdout
        path = tmp_path / "profile.json"
        narke_command("profile", str(pid), "--duration", "1", "--format", "speedscope", "--output", str(path))
        written = json.loads(path.read_text())
        assert any("burn" in frame["name"] for frame in written["shared"]["frames"])

    def test_a_program_that_waits_has_nothing_to_show(self, actor):
        pid = narke.get(actor.pid.remote())
        done = narke_command("profile", str(pid), "--duration", "1")
        assert "waited the whole time" in done.stdout


class TestTitles:
    def test_a_running_task_is_shown_by_its_name(self, folder):
        @narke.remote
        def shown(folder):
            mark(folder, "shown")
            hold(pathlib.Path(folder) / "gate")
            return os.getpid()

        running = shown.remote(folder)
        started(folder, "shown")
        pids = [row["pid"] for row in state.snapshot("workers") if row["worker_type"] == "WORKER"]
        pid = wait_for(
            lambda: next((each for each in pids if command(each).startswith("narke::shown")), None),
            what="the task's name in a title",
        )
        (folder / "gate").touch()
        assert narke.get(running) == pid
        wait_for(lambda: not command(pid).startswith("narke::shown"), what="the title of an idle worker")


PROGRAM = """
import os, sys
import narke
narke.init(address=os.environ["RAY_ADDRESS"])

@narke.remote
def waits(path, value):
    import time
    while not os.path.exists(path):
        time.sleep(0.01)

@narke.remote
class Keeper:
    def ping(self):
        return 1

small = narke.put(b"small")
large = narke.put(bytes(1_000_000))
outer = narke.put([narke.put(b"inner")])
used = narke.put(b"used")
running = waits.remote(sys.argv[1], used)
keeper = Keeper.options(num_cpus=0).remote()
narke.get(keeper.ping.remote())
print("READY", large.hex(), flush=True)
sys.stdin.readline()
"""


class TestReferences:
    def test_each_with_owner_kind_size_and_call_site(self, folder, tmp_path):
        script = tmp_path / "program.py"
        script.write_text(PROGRAM)
        address = narke.get_runtime_context().gcs_address
        environment = {**os.environ, "RAY_ADDRESS": address, "RAY_record_ref_creation_sites": "1"}
        program = subprocess.Popen(
            [sys.executable, str(script), str(folder / "gate")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            large = program.stdout.readline().split()[1]
            rows = [row for row in state.snapshot("objects") if row["pid"] == program.pid]
            kinds = {row["reference_type"] for row in rows}
            assert {
                "LOCAL_REFERENCE",
                "USED_BY_PENDING_TASK",
                "CAPTURED_IN_OBJECT",
                "ACTOR_HANDLE",
            } <= kinds
            (row,) = [row for row in rows if row["object_id"] == large]
            assert row["object_size"] >= 1_000_000
            assert row["type"] == "DRIVER"
            assert "(put object)" in row["call_site"]
            assert f"{script}:<module>:" in row["call_site"]
            done = narke_command("memory", "--group-by", "STACK_TRACE")
            assert f"{script}:<module>:" in done.stdout
            assert "ACTOR_HANDLE" in done.stdout
        finally:
            (folder / "gate").touch()
            program.communicate("\n", timeout=30)

    def test_what_is_read_in_place_is_pinned(self):
        reference = narke.put(bytes(2_000_000))
        value = narke.get(reference)
        row = next(row for row in state.snapshot("objects") if row["object_id"] == reference.hex())
        assert row["reference_type"] in ("PINNED_IN_MEMORY", "LOCAL_REFERENCE")
        assert len(value) == 2_000_000

    def test_a_reference_that_is_dropped_is_gone(self):
        reference = narke.put(b"short-lived")
        known = reference.hex()
        assert any(row["object_id"] == known for row in state.snapshot("objects"))
        del reference
        until = time.monotonic() + 10
        while any(row["object_id"] == known for row in state.snapshot("objects")):
            assert time.monotonic() < until
