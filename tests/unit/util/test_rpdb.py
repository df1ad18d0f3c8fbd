import json
import os
import socket
import subprocess
import sys

PROGRAM = """
from narke.util import rpdb
def work():
    secret = 41
    rpdb.set_trace()
    return secret + 1
print("result", work(), flush=True)
"""


def start(timeout_s):
    environment = {**os.environ, "NARKE_DEBUGGER_TIMEOUT_S": str(timeout_s)}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def test_a_breakpoint_is_reached_over_its_socket():
    program = start(60)
    line = program.stderr.readline()
    assert "breakpoint at <string>:" in line
    port, code = int(line.split("`")[1].split()[-1]), line.split()[-1]
    with socket.create_connection(("127.0.0.1", port), timeout=30) as stranger:
        stranger.sendall(b"let me in\np secret\n")
        assert stranger.recv(100) == b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        stream = connection.makefile("rw")
        stream.write(f"{code}\np secret\nc\n")
        stream.flush()
        answers = stream.read()
    out, _ = program.communicate(timeout=30)
    assert "41" in answers and "(narke-pdb)" in answers
    assert out.strip() == "result 42"


def test_nobody_comes():
    program = start(0.2)
    out, err = program.communicate(timeout=30)
    assert out.strip() == "result 42"
    assert "nobody connected" in err and "going on" in err


def test_breakpoints_are_listed_while_they_wait(monkeypatch):
    from narke.util import rpdb

    table = {}

    class Store:
        @staticmethod
        def put(key, value, namespace):
            table[key] = json.loads(value)

        @staticmethod
        def delete(key, namespace):
            table.pop(key)

    monkeypatch.setattr(rpdb.narke, "is_initialized", lambda: True)
    import narke._private

    monkeypatch.setitem(sys.modules, "narke._private.kv", Store)
    monkeypatch.setattr(narke._private, "kv", Store, raising=False)
    monkeypatch.setattr(rpdb, "_task_name", lambda: "task")
    rpdb.announce(b"k", "a:1", "file:3", "breakpoint", "code")
    entry = table[b"k"]
    assert (entry["address"], entry["where"], entry["task"]) == ("a:1", "file:3", "task")
    rpdb.withdraw(b"k")
    assert table == {}
