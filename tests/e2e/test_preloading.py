"""Workers that want modules are forked by a branch of the zygote that has them; nothing else in them is different."""

import os
import signal
import sys

import pytest
from driving import children_of, command, zygote_of
from waiting import is_running, wait_for

import narke

# Stand-ins for installed packages, in a folder that the zygote takes for one of the interpreter's.
PACKAGES = {
    "plain_thing": "import os\nSEEN = dict(os.environ)\nPID = os.getpid()",
    "other_thing": "WHERE = 'installed'",
    "drawing_thing": "import random\nOWN = random.Random()\nFIXED = random.Random(7)",
    "threaded_thing": "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()",
    "spawning_thing": "import subprocess\nCHILD = subprocess.Popen(['sleep', '600'])",
    "failing_thing": "raise RuntimeError('not today')",
}
PLAIN = ("plain_thing",)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    folder = tmp_path_factory.mktemp("installed") / "site-packages"
    folder.mkdir()
    for name, source in PACKAGES.items():
        (folder / f"{name}.py").write_text(source + "\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(folder)]))
        narke.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    yield
    narke.shutdown()


def facts(*names):
    """What a worker knows before it imports anything."""
    import os
    import sys

    return {name: name in sys.modules for name in names} | {"pid": os.getpid(), "parent": os.getppid()}


class Worker:
    """One worker process, asked what is in it."""

    def facts(self, *names):
        return facts(*names)

    def run(self, function, *args):
        return function(*args)


def worker(modules, **options):
    return narke.remote(Worker).options(num_cpus=0, _preload=modules, **options).remote()


def call(actor, method, *args):
    return narke.get(getattr(actor, method).remote(*args), timeout=60)


@pytest.mark.usefixtures("cluster")
class TestModules:
    def test_are_there_when_the_worker_is_forked(self):
        found = call(worker(PLAIN), "facts", *PLAIN)
        zygote = zygote_of(os.getpid())
        assert found["plain_thing"]
        assert found["parent"] != zygote and found["parent"] in children_of(zygote)

    def test_are_imported_once_for_all_such_workers(self):
        def where_imported():
            import plain_thing

            return plain_thing.PID

        pids = {call(worker(PLAIN), "run", where_imported) for _ in range(3)}
        assert len(pids) == 1 and pids <= set(children_of(zygote_of(os.getpid())))

    def test_are_not_in_workers_that_did_not_ask(self):
        call(worker(PLAIN), "facts")
        found = call(worker(None), "facts", *PLAIN)
        assert not found["plain_thing"] and found["parent"] == zygote_of(os.getpid())

    def test_that_are_not_installed_are_left_out(self):
        assert call(worker(("no_such_thing", "plain_thing")), "facts", *PLAIN)["plain_thing"]
        assert call(worker(("no_such_thing",)), "facts")["parent"] == zygote_of(os.getpid())

    def test_of_the_drivers_own_folder_are_not_loaded(self, tmp_path, monkeypatch):
        (tmp_path / "own_thing.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path))
        assert not call(worker(("own_thing", "plain_thing")), "facts", "own_thing")["own_thing"]

    def test_hold_for_tasks_too(self):
        task = narke.remote(facts).options(_preload=PLAIN)
        assert narke.get(task.remote(*PLAIN), timeout=60)["plain_thing"]

    @pytest.mark.parametrize(
        "name", ["threaded_thing", "spawning_thing", "failing_thing", "../etc", "a" * 200]
    )
    def test_that_cannot_be_forked_are_left_to_the_workers(self, name):
        found = call(worker((name,)), "facts", name)
        assert found["parent"] == zygote_of(os.getpid()) and not found[name]


@pytest.mark.usefixtures("cluster")
class TestWorkersOfABranch:
    def test_draw_random_numbers_of_their_own(self):
        def draw():
            import random
            import uuid

            import drawing_thing
            import numpy

            own = (random.random(), numpy.random.rand(), uuid.uuid4(), drawing_thing.OWN.random())
            return own, drawing_thing.FIXED.random()

        drawn = [call(worker(("drawing_thing",)), "run", draw) for _ in range(3)]
        for numbers in zip(*(own for own, _ in drawn), strict=True):
            assert len(set(numbers)) == 3
        assert len({fixed for _, fixed in drawn}) == 1

    def test_with_variables_of_their_own_import_for_themselves(self):
        def seen():
            import plain_thing

            return plain_thing.SEEN.get("THING_LEVEL"), plain_thing.PID == os.getpid()

        own = worker(PLAIN, runtime_env={"env_vars": {"THING_LEVEL": "9"}})
        assert call(own, "run", seen) == ("9", True)

    def test_have_their_working_directorys_modules(self, tmp_path):
        (tmp_path / "other_thing.py").write_text("WHERE = 'own'\n")

        def where():
            import other_thing

            return other_thing.WHERE

        own = worker(("other_thing",), runtime_env={"working_dir": str(tmp_path)})
        assert call(own, "run", where) == "own"
        assert call(worker(("other_thing",)), "run", where) == "installed"

    def test_pass_nothing_on_to_what_they_submit(self):
        def nested():
            return narke.get(narke.remote(facts).remote("plain_thing"))

        assert not call(worker(PLAIN), "run", nested)["plain_thing"]

    def test_are_reported_when_they_end(self):
        actor = worker(PLAIN)
        pid = call(actor, "facts")["pid"]
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(narke.exceptions.ActorDiedError, match="SIGKILL|signal"):
            call(actor, "facts")
        wait_for(lambda: not is_running(pid), what="the worker's end")


@pytest.mark.usefixtures("cluster")
class TestLibraries:
    def test_narke_datas_tasks_have_its_modules(self):
        pytest.importorskip("pyarrow")
        import narke.data

        rows = narke.data.from_items([1, 2]).map(lambda row: {"parent": os.getppid()}).take_all()
        zygote = zygote_of(os.getpid())
        assert rows[0]["parent"] != zygote and rows[0]["parent"] in children_of(zygote)

    def test_their_workers_with_variables_work_as_well(self):
        pytest.importorskip("pyarrow")
        import narke.data

        options = {"runtime_env": {"env_vars": {"THING_LEVEL": "9"}}}
        rows = narke.data.from_items([1, 2]).map(lambda row: {"level": os.environ["THING_LEVEL"]}, **options)
        assert {row["level"] for row in rows.take_all()} == {"9"}


@pytest.mark.usefixtures("cluster")
class TestKilled:
    def test_a_branch_is_made_again_and_its_workers_live_on(self):
        keeper = worker(PLAIN)
        before = call(keeper, "facts")
        os.kill(before["parent"], signal.SIGKILL)
        wait_for(lambda: not is_running(before["parent"]), what="the branch's end")
        after = call(worker(PLAIN), "facts", *PLAIN)
        assert after["plain_thing"] and after["parent"] not in (before["parent"], zygote_of(os.getpid()))
        assert call(keeper, "facts")["pid"] == before["pid"]

    def test_a_new_zygote_knows_what_is_wanted(self):
        zygote = zygote_of(os.getpid())
        assert call(worker(PLAIN), "facts")["parent"] != zygote
        old = [zygote, *(child for child in children_of(zygote) if "zygote" in command(child))]
        os.kill(zygote, signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, old)), what="the zygotes' end")
        found = call(worker(PLAIN), "facts", *PLAIN)
        assert found["plain_thing"] and found["parent"] in children_of(zygote_of(os.getpid()))


PROGRAM = """
import os
import sys
sys.path[:0] = {folders}
from driving import children_of, zygote_of
import narke
{before}
narke.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
narke.get(narke.remote(lambda: os.getpid()).remote())
{after}
from narke._private import session
zygote = zygote_of(os.getpid())
def idle_of(parent):
    workers = session.native().control("list_workers")["workers"]
    return [row["pid"] for row in workers if row["pid"] in children_of(parent) and row["state"] == "IDLE"]
from waiting import wait_for
{look}
narke.shutdown()
"""
EXPECTED = (
    "wait_for(lambda: any(len(idle_of(branch)) == 2 for branch in children_of(zygote)), what='workers of a branch')\n"
    "print('workers ready')"
)


class TestDrivers:
    @pytest.mark.parametrize(
        ("before", "after"), [("import narke.data", ""), ("", "import narke.data")], ids=["before", "after"]
    )
    def test_that_import_a_library_have_workers_begun(self, start, before, after):
        pytest.importorskip("pyarrow")
        program = start(PROGRAM.format(folders=sys.path[:6], before=before, after=after, look=EXPECTED))
        assert program.said("workers", 60) == "ready"
        assert program.ended() == 0
        program.leaves_nothing()

    def test_that_import_none_have_no_process_more(self, start):
        look = (
            "from driving import command\n"
            "wait_for(lambda: len(idle_of(zygote)) == 2, what='idle workers')\n"
            "print('branches', sum('zygote' in command(child) for child in children_of(zygote)))"
        )
        program = start(PROGRAM.format(folders=sys.path[:6], before="", after="", look=look))
        assert program.said("branches", 60) == "0"
        assert program.ended() == 0


def test_imports_that_hang_have_a_deadline(start, tmp_path, monkeypatch):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "hanging_thing.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([os.environ["PYTHONPATH"], str(folder)]))
    monkeypatch.setenv("NARKE_PRELOAD_LIMIT_MS", "500")
    look = (
        "work = narke.remote(lambda: os.getppid()).options(_preload=('hanging_thing',))\n"
        "print('parent', narke.get(work.remote(), timeout=60) == zygote)"
    )
    program = start(PROGRAM.format(folders=sys.path[:6], before="", after="", look=look))
    assert program.said("parent", 60) == "True"
    assert program.ended() == 0
    program.leaves_nothing()
