"""Drivers that reach one port of the head, and that nobody reaches."""

from __future__ import annotations

import os
import signal
import sys

import pytest
from hosts import GATE_OUT, HEAD, NARKE, PORT, Network, network, until

ADDRESS = f"narke://{GATE_OUT}:{PORT}"

EVERYTHING = """
import sys
import numpy as np
import narke as ray
from narke.util import placement_group
context = ray.init(sys.argv[1])

@ray.remote
def total(*parts):
    return float(sum(np.asarray(part).sum() for part in parts))

@ray.remote
def echo(value):
    return value

@ray.remote
def ones(count):
    return np.ones(count)

@ray.remote
def inside(refs):
    return float(ray.get(refs[0]).sum())

@ray.remote
def wrong():
    raise ValueError("told across the line")

@ray.remote
def numbers(count):
    for number in range(count):
        yield number

@ray.remote(num_cpus=0, resources={"far": 0.1})
class Counter:
    def __init__(self):
        self.count = 0
    def add(self, value=None):
        self.count += 1
        print("counted", self.count, flush=True)
        return self.count
    def keep(self, refs):
        self.refs = refs
        return float(ray.get(refs[0]).sum())

far = {"far": 0.1}
for _ in range(3):                                      # far more than a stream's window, by messages alone
    echoed = ray.get([echo.options(resources=far).remote(bytes(50_000)) for _ in range(60)])
    assert sum(map(len, echoed)) == 3_000_000
assert len(ray.nodes()) == 2, ray.nodes()
assert ray.cluster_resources()["CPU"] == 3
put = ray.put(np.ones(1_000_000))                       # the driver's store is away; those who use it are there
assert ray.get(total.options(resources=far).remote(put)) == 1_000_000
assert ray.get(ones.options(resources=far).remote(2_000_000)).sum() == 2_000_000
assert ray.get(inside.options(resources=far).remote([ray.put(np.ones(300_000))])) == 300_000
assert ray.get(total.remote(ones.remote(500_000), ones.options(resources=far).remote(5))) == 500_005
assert ray.get([total.remote(i) for i in range(300)]) == list(range(300))
assert [ray.get(ref) for ref in numbers.options(num_returns="streaming").remote(20)] == list(range(20))
try:
    ray.get(wrong.remote())
except ValueError as error:
    assert "told across the line" in str(error)
    print("error", type(error).__name__)
counter = Counter.options(name="kept", namespace="n", lifetime="detached").remote()
assert ray.get([counter.add.remote() for _ in range(50)])[-1] == 50
assert ray.get(counter.keep.remote([ray.put(np.ones(200_000))])) == 200_000
mine = Counter.remote()
assert ray.get(mine.add.remote()) == 1
group = placement_group([{"CPU": 1}, {"CPU": 1}], strategy="STRICT_SPREAD")
assert ray.get(group.ready(), timeout=30) is not None
none = total.options(num_cpus=0)
assert ray.get([none.remote(i) for i in range(20)]) == list(range(20))
@ray.remote(num_cpus=0, scheduling_strategy="SPREAD")
def where():
    return ray.get_runtime_context().get_node_id()
assert set(ray.get([where.remote() for _ in range(8)])) <= {node["NodeID"] for node in ray.nodes()}
print("all is well")
"""

CALLS = """
import sys, time
import narke as ray
ray.init(sys.argv[1], log_to_driver=False)
@ray.remote(num_cpus=0, resources={"far": 0.1})
class Log:
    def __init__(self):
        self.seen = []
    def add(self, number):
        self.seen.append(number)
        return number
    def all(self):
        return self.seen
@ray.remote(max_retries=0)
def double(x):
    return x * 2
log = Log.remote()
ray.get(log.add.remote(-1))
print("ready", flush=True)
answers, results = [], []
for number in range(400):
    answers.append(log.add.remote(number))
    results.append(double.remote(number))
    time.sleep(0.01)
    if number == 399:
        print("sent", flush=True)
assert ray.get(answers, timeout=60) == list(range(400))
assert ray.get(results, timeout=60) == [2 * number for number in range(400)]
assert ray.get(log.all.remote(), timeout=60) == list(range(-1, 400)), "in order, nothing twice"
print("nothing was lost")
"""

WAITS = """
import sys, time
import narke as ray
ray.init(sys.argv[1], namespace="waits")
@ray.remote
class Mine:
    def here(self):
        return True
mine = Mine.options(name="mine").remote()
ray.get(mine.here.remote())
print("ready", flush=True)
try:
    while True:
        ray.get(mine.here.remote(), timeout=60)
        time.sleep(0.05)
except ray.exceptions.RayError as error:
    print("ended:", type(error).__name__, error, flush=True)
"""


def jobs_running(net: Network) -> int:
    """Drivers that the cluster counts as running, without the one that asks."""
    program = (
        "import narke as ray\n"
        "ray.init('auto', log_to_driver=False)\n"
        "from narke import _native\n"
        "print(sum(1 for job in _native.control('list_jobs')['jobs'] if not job.get('is_dead')) - 1)\n"
    )
    done = net.head.python(program)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_everything_works_from_away(cluster):
    done = cluster.away.python(EVERYTHING, ADDRESS)
    assert "all is well" in done.stdout, done.stdout + done.stderr
    assert "error RayTaskError(ValueError)" in done.stdout
    assert "counted 50" in done.stdout + done.stderr, "what workers print is shown"


def test_the_driver_reaches_that_port_and_no_other(cluster):
    probe = (
        "import socket\n"
        f"for host, port in (({GATE_OUT!r}, {PORT}), ({HEAD!r}, {PORT}), ('10.212.0.2', 22)):\n"
        "    try: socket.create_connection((host, port), timeout=2); print('open')\n"
        "    except OSError: print('shut')\n"
    )
    assert cluster.away.run(sys.executable, "-c", probe).stdout.split() == ["open", "shut", "shut"]


def test_an_unmodified_ray_program_and_the_older_ways_to_connect(cluster, tmp_path):
    program = tmp_path / "old.py"
    program.write_text(
        "import sys, ray\n"
        "@ray.remote\n"
        "def double(x): return 2 * x\n"
        "with ray.init(sys.argv[1], namespace='old'):\n"
        "    print(ray.get(double.remote(2)))\n"
        "context = ray.client(sys.argv[1].removeprefix('ray://')).namespace('old').connect()\n"
        "print(ray.get(double.remote(3)), context.python_version.count('.'))\n"
        "context.disconnect()\n"
        "ray.util.connect(sys.argv[1].removeprefix('ray://'))\n"
        "print(ray.get(double.remote(4)))\n"
        "ray.util.disconnect()\n"
    )
    done = cluster.away.run(*NARKE, "run", str(program), f"ray://{GATE_OUT}:{PORT}")
    assert done.stdout.split() == ["4", "6", "2", "8"], done.stderr


def test_a_line_that_breaks_for_a_while_loses_nothing(cluster):
    path = os.path.join(cluster.away.folder, "calls.py")
    with open(path, "w") as file:
        file.write(CALLS)
    driver = cluster.away.popen(sys.executable, path, ADDRESS)
    assert driver.stdout.readline() == "ready\n", driver.stderr.read()
    with cluster.broken():
        assert driver.stdout.readline() == "sent\n", "the program goes on meanwhile"
    assert driver.stdout.readline() == "nothing was lost\n", driver.stderr.read()
    assert driver.wait(30) == 0


def test_a_line_that_stays_broken_ends_the_program_and_its_job(cluster):
    path = os.path.join(cluster.away.folder, "waits.py")
    with open(path, "w") as file:
        file.write(WAITS)
    driver = cluster.away.popen(
        sys.executable, path, ADDRESS, NARKE_CLIENT_RECONNECT_GRACE_PERIOD="1", PYTHONUNBUFFERED="1"
    )
    assert driver.stdout.readline() == "ready\n", driver.stderr.read()
    assert jobs_running(cluster) == 1
    with cluster.broken():
        assert driver.stdout.readline().startswith("ended:")
        until(lambda: jobs_running(cluster) == 0)
    driver.wait(30)
    assert "is lost: its line has been broken for 1 s" in driver.stderr.read()


def test_the_cluster_knows_at_once_when_such_a_driver_is_killed(cluster):
    path = os.path.join(cluster.away.folder, "waits.py")
    with open(path, "w") as file:
        file.write(WAITS)
    driver = cluster.away.popen(sys.executable, path, ADDRESS)
    assert driver.stdout.readline() == "ready\n", driver.stderr.read()
    os.killpg(driver.pid, signal.SIGKILL)
    until(lambda: jobs_running(cluster) == 0, 20)  # far below the 30 s that a broken line may last


@pytest.mark.parametrize(
    ("address", "variables", "sentence"),
    [
        (ADDRESS, {"NARKE_AUTH_TOKEN": "f" * 64}, "another token"),
        (ADDRESS, {"NARKE_AUTH_TOKEN": ""}, "set NARKE_AUTH_TOKEN"),
        (f"narke://{GATE_OUT}:1", {}, "refused"),
        (f"narke://{GATE_OUT}", {}, "is not of the form narke://host:port"),
        (ADDRESS, {"NARKE_CLIENT_RECONNECT_GRACE_PERIOD": "long"}, "NARKE_CLIENT_RECONNECT_GRACE_PERIOD"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(cluster, address, variables, sentence):
    done = cluster.away.python("import sys, narke\nnarke.init(sys.argv[1])\n", address, **variables)
    assert done.returncode == 1
    assert sentence in done.stderr


def test_a_program_of_another_python_is_refused_with_both_versions(cluster, tmp_path):
    from narke._private.node_process import program

    session = tmp_path / "s"
    (session / "logs").mkdir(parents=True)
    (session / "token").write_text(cluster.away.environment()["NARKE_AUTH_TOKEN"])
    words = ["--session-dir", str(session), "--outside", f"--join={GATE_OUT}:{PORT}", "--port=0"]
    sizes = ["--object-store-memory=100000000", "--python-version=2.7.18", "--ready-fd=1"]
    done = cluster.away.run(program(), *words, *sizes)
    assert done.stdout.startswith("error")
    ours = ".".join(str(part) for part in sys.version_info[:2])
    assert f"the cluster runs Python {ours}." in done.stdout and "2.7.18" in done.stdout


def test_two_drivers_away_at_a_time_share_an_actor(cluster):
    program = (
        "import sys, narke as ray\n"
        "ray.init(sys.argv[1], namespace='both', log_to_driver=False)\n"
        "@ray.remote(num_cpus=0)\n"
        "class Shelf:\n"
        "    def put(self, refs): self.refs = refs; return True\n"
        "    def take(self): return self.refs\n"
        "if sys.argv[2] == 'one':\n"
        "    shelf = Shelf.options(name='shelf', lifetime='detached').remote()\n"
        "    ref = ray.put(bytes(300_000))\n"
        "    ray.get(shelf.put.remote([ref]))\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.readline()\n"
        "else:\n"
        "    [ref] = ray.get(ray.get_actor('shelf').take.remote())\n"
        "    print(len(ray.get(ref, timeout=30)))\n"
    )
    path = os.path.join(cluster.away.folder, "both.py")
    with open(path, "w") as file:
        file.write(program)
    first = cluster.away.popen(sys.executable, path, ADDRESS, "one")
    assert first.stdout.readline() == "ready\n", first.stderr.read()
    second = cluster.away.run(sys.executable, path, ADDRESS, "two")
    assert second.stdout.strip() == "300000", second.stderr
    first.communicate("go\n", timeout=30)


def test_the_second_port_is_for_such_drivers():
    with network() as net:
        net.start_head("--ray-client-server-port=10001")
        done = net.worker.python(
            "import narke as ray\n"
            f"ray.init('ray://{HEAD}:10001')\n"
            "print(ray.get(ray.remote(lambda: 7).remote()))\n"
        )
        assert done.stdout.strip() == "7", done.stderr
