"""A head node as a process of its own, and plain HTTP to it."""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile

from waiting import is_running, wait_for

MARK = "NARKE_GATEWAY_TEST"
_COMMAND = "import sys; from narke._cli import main; sys.exit(main(sys.argv[1:]))"


def cli(*words, env=None, **options):
    """Run the command `narke`; returns the finished process with its text."""
    return subprocess.run(
        [sys.executable, "-c", _COMMAND, *words],
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


def free_port():
    """A port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Answer:
    """An answer's status, headers and body."""

    def __init__(self, got):
        self.status = got.status
        self.headers = {name.lower(): value for name, value in got.getheaders()}
        self.text = got.read().decode(errors="replace")

    def json(self):
        return json.loads(self.text)


class Head:
    """`narke start --head --block` on free ports."""

    def __init__(self, cpus=2, *words, env=None):
        self.folder = tempfile.mkdtemp(prefix="ng")
        self.log = os.path.join(self.folder, "head.log")
        self.mark = os.path.basename(self.folder)
        for _ in range(3):  # a port that was free may be taken meanwhile
            self._start(cpus, words, env)
            wait_for(
                lambda: self.process.poll() is not None or "started" in self._said(), what="the head node"
            )
            if "Address already in use" not in self._said():
                break
        assert self.process.poll() is None, self._said()
        self.session = os.path.realpath(os.path.join(self.folder, "narke", "latest"))
        self.info = json.loads(pathlib.Path(self.session, "info.json").read_text())
        self.token = pathlib.Path(self.session, "token").read_text().strip()
        self.port = self.info["dashboard_port"]
        self.url = f"http://127.0.0.1:{self.port}"

    def _start(self, cpus, words, env):
        words = [f"--port={free_port()}", f"--num-cpus={cpus}", "--dashboard-port=0", *words]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _COMMAND, "start", "--head", "--block", *words],
                env={**os.environ, "RAY_TMPDIR": self.folder, MARK: self.mark, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _said(self):
        return pathlib.Path(self.log).read_text()

    def ask(self, method, path, body=None, headers=None, token=True, port=None):
        """One request, with the token unless told otherwise; a dict as `body` is sent as JSON."""
        sent = {"Authorization": f"Bearer {self.token}"} if token else {}
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            sent["Content-Type"] = "application/json"
        sent.update(headers or {})
        link = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=30)
        try:
            link.request(method, path, body=body, headers=sent)
            return Answer(link.getresponse())
        finally:
            link.close()

    def processes(self):
        """Running processes that carry the mark of this cluster."""
        found, needle = [], f"{MARK}={self.mark}".encode()
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                holds = needle in (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if holds and is_running(int(folder.name)):
                found.append(int(folder.name))
        return found

    def gateway_pid(self):
        """The process that serves HTTP."""
        for pid in self.processes():
            try:
                name = pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            if name == "narke-gateway":
                return pid
        return None

    def stop(self):
        """End it; nothing of it may be left."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        try:
            wait_for(lambda: not self.processes(), what="the end of the cluster's processes")
        finally:
            for pid in self.processes():
                os.kill(pid, signal.SIGKILL)
            shutil.rmtree(self.folder, ignore_errors=True)
