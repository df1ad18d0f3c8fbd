"""Debuggers in tasks: from a terminal, for editors, after a failure."""

import json
import os
import queue
import socket
import subprocess
import sys
import threading

import pytest
from waiting import wait_for

from narke.exceptions import RayTaskError

LIMIT_S = 60


class Session:
    """`narke debug` with its input and output."""

    def __init__(self, ray, *words):
        folder = ray.init(ignore_reinit_error=True).address_info["session_dir"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "narke", "debug", "--address", folder, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.said = ""
        self._pieces = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self):
        while piece := os.read(self.process.stdout.fileno(), 4096):
            self._pieces.put(piece.decode())

    def expect(self, text):
        """Wait until it has said `text`; forgets what came before."""
        while text not in self.said:
            try:
                self.said += self._pieces.get(timeout=LIMIT_S)
            except queue.Empty:
                pytest.fail(f"{text!r} did not come after {self.said!r}")
        self.said = self.said.partition(text)[2]

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self._reader.join(LIMIT_S)
        self.process.stdout.close()


@pytest.fixture
def debug(ray):
    started = []

    def start(*words):
        started.append(Session(ray, *words))
        return started[-1]

    yield start
    for session in started:
        session.end()


def waiting(ray):
    from narke._private import kv

    return kv.keys(b"", namespace=b"debugger")


def entry_of(ray):
    from narke._private import kv

    return json.loads(kv.get(waiting(ray)[0], namespace=b"debugger"))


def test_a_breakpoint_is_entered_from_a_terminal(ray, debug):
    @ray.remote
    def task(x):
        doubled = 2 * x
        breakpoint()
        return doubled + 1

    ref = task.remote(20)
    wait_for(lambda: waiting(ray), what="the breakpoint")
    session = debug()
    session.expect("INDEX")
    session.expect("q to leave")
    session.tell("7")
    session.expect("is none of them")
    session.expect("q to leave")
    session.tell("0")
    session.expect("(narke-pdb)")
    session.tell("p doubled")
    session.expect("40")
    session.tell("doubled = 50")
    session.tell("c")
    session.expect("Nothing waits")
    session.tell("q")
    assert ray.get(ref, timeout=LIMIT_S) == 51
    assert not waiting(ray)


def test_a_breakpoint_of_another_host_is_entered_through_an_actor_there(ray, debug):
    from narke._private import kv

    @ray.remote
    def task():
        inside = "seen from afar"
        breakpoint()
        return inside

    ref = task.remote()
    [key] = wait_for(lambda: waiting(ray), what="the breakpoint")
    elsewhere = {**entry_of(ray), "node_ip": "203.0.113.9"}  # of no host here (RFC 5737)
    kv.put(key, json.dumps(elsewhere).encode(), namespace=b"debugger")
    session = debug()
    session.expect("q to leave")
    session.tell("0")
    session.expect("(narke-pdb)")
    session.tell("p inside")
    session.expect("seen from afar")
    session.tell("inside = 7")
    session.tell("c")
    session.expect("Nothing waits")
    session.tell("q")
    assert ray.get(ref, timeout=LIMIT_S) == 7


def test_a_failure_is_looked_at_where_it_happened(ray, debug):
    @ray.remote(runtime_env={"env_vars": {"RAY_DEBUG_POST_MORTEM": "1"}})
    def task():
        inner = "inner value"
        raise ValueError(inner.upper())

    ref = task.remote()
    wait_for(lambda: waiting(ray), what="the failure")
    session = debug()
    session.expect("failure: ValueError: INNER VALUE")
    session.tell("0")
    session.expect("(narke-pdb)")
    session.tell("p inner")
    session.expect("'inner value'")
    session.tell("c")
    session.tell("q")
    with pytest.raises(RayTaskError, match="INNER VALUE"):
        ray.get(ref, timeout=LIMIT_S)


def test_nothing_waits_is_said(ray, debug):
    session = debug("--list")
    session.expect("Nothing waits")


def test_nobody_gets_in_without_the_code(ray):
    @ray.remote
    def task():
        breakpoint()
        return 1

    ref = task.remote()
    wait_for(lambda: waiting(ray), what="the breakpoint")
    entry = entry_of(ray)
    host, port = entry["address"].split(":")
    assert host == "127.0.0.1"
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as stranger:
        stranger.sendall(b"0" * 32 + b"\nimport os; os.abort()\n")
        assert stranger.recv(100) == b""
    with socket.create_connection((host, int(port)), timeout=LIMIT_S) as link:
        link.sendall(f"{entry['code']}\nc\n".encode())
        assert ray.get(ref, timeout=LIMIT_S) == 1


class Editor:
    """As much of an editor as the debug adapter protocol needs."""

    def __init__(self, port):
        self._link = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self._stream = self._link.makefile("rb")
        self._count = 0

    def ask(self, command, **arguments):
        self._count += 1
        body = {"seq": self._count, "type": "request", "command": command, "arguments": arguments}
        data = json.dumps(body).encode()
        self._link.sendall(f"Content-Length: {len(data)}\r\n\r\n".encode() + data)

    def expect(self, kind, name):
        heard = []
        while True:
            length = 0
            while (line := self._stream.readline().strip()) != b"":
                length = int(line.partition(b":")[2])
            if not length:
                pytest.fail(f"the link ended before the {kind} {name!r}; heard: {heard}")
            message = json.loads(self._stream.read(length))
            heard.append(message)
            if message["type"] == kind and message.get("event" if kind == "event" else "command") == name:
                return message["body"] if "body" in message else {}

    def close(self):
        self._stream.close()
        self._link.close()


def test_an_editor_attaches(ray, debug):
    pytest.importorskip("debugpy")

    @ray.remote(runtime_env={"env_vars": {"RAY_DEBUG": "1", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}})
    def task():
        value = 41
        breakpoint()
        return value + 1

    ref = task.remote()
    wait_for(lambda: waiting(ray), what="the breakpoint", timeout_s=LIMIT_S)
    debug("--list").expect("waits for an editor")
    editor = Editor(int(entry_of(ray)["address"].rpartition(":")[2]))
    try:
        editor.ask("initialize", adapterID="test")
        editor.expect("response", "initialize")
        editor.ask("attach", justMyCode=False)
        editor.expect("event", "initialized")
        editor.ask("configurationDone")
        thread = editor.expect("event", "stopped")["threadId"]
        editor.ask("stackTrace", threadId=thread)
        frames = editor.expect("response", "stackTrace")["stackFrames"]
        top = next(frame for frame in frames if frame["name"] == "task")
        editor.ask("evaluate", expression="value", frameId=top["id"])
        assert editor.expect("response", "evaluate")["result"] == "41"
        editor.ask("continue", threadId=thread)
        assert ray.get(ref, timeout=LIMIT_S) == 42
    finally:
        editor.close()
