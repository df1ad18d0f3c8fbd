"""Programs of every kind that drive a cluster: joined, forked, with threads, in a notebook's kernel."""

import json
import shutil
import sys
import tempfile

import pytest
from driving import processes_with
from waiting import wait_for

PRELUDE = """
import os, threading
os.environ["RAY_TMPDIR"] = {folder!r}
import narke

@narke.remote
def double(x):
    return 2 * x
"""

STARTS = (
    PRELUDE
    + """
import subprocess, sys
narke.init(num_cpus=2, include_dashboard=False)
joined = subprocess.run([sys.executable, "-c", {joins!r}], capture_output=True, text=True, timeout=60)
print("joined", joined.returncode, joined.stdout.strip(), joined.stderr.strip())
print("here", narke.get_runtime_context().get_node_id())
"""
)

JOINS = """
import narke
narke.init("auto", log_to_driver=False)
print(narke.get_runtime_context().get_node_id())
"""

FORKS = (
    PRELUDE
    + """
narke.init(num_cpus=2, include_dashboard=False)
pending = double.remote(21)
child = os.fork()
if child == 0:
    before = narke.is_initialized()
    narke.init("auto", log_to_driver=False)
    print("child", before, narke.get(double.remote(4), timeout=30), flush=True)
    narke.shutdown()
    os._exit(7)
print("status", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print("parent", narke.get(pending, timeout=30), narke.get(double.remote(5), timeout=30))
"""
)

IN_THE_BACKGROUND = (
    PRELUDE
    + """
import signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
narke.init(num_cpus=2, include_dashboard=False)

@narke.remote
def sleeps(started):
    open(started, "w").close()
    time.sleep(600)

started = os.path.join({folder!r}, "started")
pending = sleeps.remote(started)
while not os.path.exists(started):
    time.sleep(0.02)
narke.cancel(pending)
try:
    narke.get(pending, timeout=30)
except narke.exceptions.TaskCancelledError:
    print("cancelled", True)
"""
)

THREADS = (
    PRELUDE
    + """
narke.init(num_cpus=2, include_dashboard=False)

@narke.remote
class Sum:
    def __init__(self):
        self.total = 0
    def add(self, x):
        self.total += x
        return self.total

total, wrong = Sum.remote(), []

def work(i):
    for x in range(i, i + 20):
        if narke.get(double.remote(narke.put(x)), timeout=60) != 2 * x:
            wrong.append(x)
        narke.get(total.add.remote(1), timeout=60)

threads = [threading.Thread(target=work, args=(i,)) for i in range(24)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("wrong", wrong)
print("total", narke.get(total.add.remote(0)))
"""
)

TASKS = """
@ray.remote
def square(x):
    print("at work on", x)
    return x * x

ray.get([square.remote(i) for i in range(4)])
"""

ACTOR = """
@ray.remote
class Counter:
    def __init__(self):
        self.n = 0
    async def add(self):
        self.n += 1
        return self.n

counter = Counter.remote()
[await counter.add.remote() for _ in range(3)]
"""

OWN_CLASS = """
class Local:
    def __init__(self, value):
        self.value = value

@ray.remote
def grow(it):
    return Local(it.value + 1)

ray.get(grow.remote(Local(3))).value
"""

CELLS = [
    "import os; os.environ['RAY_TMPDIR'] = {folder!r}",
    "import narke as ray\nray.init(num_cpus=2, include_dashboard=False)",
    TASKS,
    ACTOR,
    OWN_CLASS,
    "ray.shutdown()",
]


@pytest.fixture
def folder():
    """A short path for sessions of these programs alone."""
    path = tempfile.mkdtemp(prefix="nk")
    yield path
    shutil.rmtree(path, ignore_errors=True)


def test_auto_finds_the_cluster_another_program_started(start, folder):
    driver = start(STARTS.format(folder=folder, joins=JOINS))
    code, found = driver.said("joined", timeout_s=60).split(" ", 1)
    assert code == "0", found
    assert found.strip() == driver.said("here")
    assert driver.ended() == 0
    driver.leaves_nothing()


def test_auto_without_any_cluster_says_how_to_start_one(start, folder):
    driver = start(PRELUDE.format(folder=folder) + "narke.init('auto')")
    assert driver.ended() == 1
    assert "narke start --head" in driver.errors


def test_a_forked_driver_is_a_program_of_its_own(start, folder):
    driver = start(FORKS.format(folder=folder))
    assert driver.said("child", timeout_s=60) == "False 8"
    assert driver.said("status") == "7"
    assert driver.said("parent", timeout_s=60) == "42 10"
    assert driver.ended() == 0
    driver.leaves_nothing()


def test_a_program_that_a_shell_runs_in_the_background_can_cancel(start, folder):
    """Such a program, and all that it starts, begins with SIGINT ignored."""
    driver = start(IN_THE_BACKGROUND.format(folder=folder))
    assert driver.said("cancelled", timeout_s=60) == "True"
    assert driver.ended() == 0
    driver.leaves_nothing()


def test_threads_share_a_driver(start, folder):
    driver = start(THREADS.format(folder=folder))
    assert driver.said("wrong", timeout_s=90) == "[]"
    assert driver.said("total") == "480"
    assert driver.ended() == 0
    driver.leaves_nothing()


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A notebook's kernel on this Python, found without touching the user's own kernels."""
    pytest.importorskip("ipykernel")
    spec = tmp_path / "jupyter" / "kernels" / "narke-test"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "test", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    return "narke-test"


def test_a_notebook_drives_a_cluster(kernel, folder):
    client = pytest.importorskip("nbclient")
    formats = pytest.importorskip("nbformat")
    cells = [formats.v4.new_code_cell(cell.replace("{folder!r}", repr(folder))) for cell in CELLS]
    notebook = formats.v4.new_notebook(cells=cells)
    client.NotebookClient(notebook, timeout=60, kernel_name=kernel).execute()
    assert [_value(cell) for cell in cells[2:5]] == ["[0, 1, 4, 9]", "[1, 2, 3]", "4"]
    assert "Ray version" in cells[1].outputs[0].data["text/html"]
    assert "at work on" in "".join(_printed(cell) for cell in cells)
    wait_for(lambda: not processes_with(folder), what="the end of the notebook's cluster")


def _value(cell):
    return next(each.data["text/plain"] for each in cell.outputs if each.output_type == "execute_result")


def _printed(cell):
    return "".join(each.text for each in cell.outputs if each.output_type == "stream")
