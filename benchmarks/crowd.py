"""A real head with many simulated nodes over real sockets: what they cost it, and how fast it makes actors and groups.

    python benchmarks/crowd.py [--nodes 200,2000] [--actors N] [--groups N] [--idle-s S] [--journal] [--json FILE]

The head is `narke-node`; the nodes, their workers and the driver are `narke-crowd` (src/sim/crowd_main.cc), one process
with a TCP link for each node. Figures of two sizes show how costs grow: ten times the nodes may cost ten times as much
in all, and no more for each actor or group. CPU is a share of one core; memory is the head's resident set.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
START_LIMIT_S = 30
RUN_LIMIT_S = 600
COLUMNS = {
    "nodes": "nodes",
    "join_s": "joined in s",
    "idle_mb": "idle, MB",
    "idle_cpu": "idle, core",
    "created_per_s": "actors started /s",
    "called_per_s": "called /s",
    "killed_per_s": "ended /s",
    "actors_per_s": "all three /s",
    "groups_per_s": "groups made /s",
    "removed_per_s": "removed /s",
    "busy_cpu": "all viewing, core",
    "told_kb_s": "told each, kB/s",
    "age_p50_s": "news' age, median s",
    "age_max_s": "greatest",
    "end_mb": "at the end, MB",
}


def program(name: str) -> str:
    """Path of a program that was built, in the Python tree or in build/release."""
    module = "node" if name == "narke-node" else "sim"
    for path in (ROOT / "build/release/src" / module / name, ROOT / "python/narke/bin" / name):
        if os.access(path, os.X_OK):
            return str(path)
    sys.exit(f"{name} is not built: ./dev build {name}")


def start_head(folder: str, journal: bool) -> tuple[subprocess.Popen[bytes], str]:
    """Start a head in the folder; the process and its HOST:PORT."""
    reader, writer = os.pipe()
    command = [program("narke-node"), "--session-dir", folder, "--object-store-memory", str(32 << 20)]
    command += [
        "--resource",
        "CPU=0",
        "--address",
        "127.0.0.1",
        "--port",
        "0",
        "--owner-pid",
        str(os.getpid()),
    ]
    command += ["--python", sys.executable, "--python-path", str(ROOT / "python")]
    command += ["--ready-fd", str(writer)]
    if journal:
        command += ["--journal", f"{folder}/journal"]
    head = subprocess.Popen(command, pass_fds=[writer])
    os.close(writer)
    with os.fdopen(reader) as ready:
        said = ready.readline()
    if not said.startswith("ready"):
        sys.exit(f"the head did not start: {said}")
    return head, endpoint_of(head.pid)


def endpoint_of(pid: int) -> str:
    """Where a process listens on TCP."""
    inodes = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(entry)
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and fields[9] in inodes:
            return f"127.0.0.1:{int(fields[1].split(':')[1], 16)}"
    sys.exit("the head listens nowhere")


def measure(nodes: int, options: argparse.Namespace) -> dict[str, Any]:
    """One head and one crowd; the crowd's figures."""
    with tempfile.TemporaryDirectory(prefix="narke-crowd-") as folder:
        head, endpoint = start_head(folder, options.journal)
        try:
            words = {
                "nodes": nodes,
                "actors": options.actors,
                "groups": options.groups,
                "idle-s": options.idle_s,
            }
            command = [
                program("narke-crowd"),
                "--session",
                folder,
                "--head",
                endpoint,
                "--head-pid",
                str(head.pid),
            ]
            for name, value in words.items():
                command += [f"--{name}", str(value)]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=RUN_LIMIT_S, check=True)
            figures: dict[str, Any] = json.loads(done.stdout)
            return figures
        finally:
            head.terminate()
            head.wait(START_LIMIT_S)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--nodes", default="200,2000", help="sizes, with commas between (%(default)s)")
    parser.add_argument("--actors", type=int, default=10_000, help="actors (%(default)s)")
    parser.add_argument("--groups", type=int, default=1_000, help="placement groups (%(default)s)")
    parser.add_argument("--idle-s", type=int, default=10, help="seconds of idling measured (%(default)s)")
    parser.add_argument("--journal", action="store_true", help="the head keeps a journal on disk")
    parser.add_argument("--json", default="", help="file for the figures")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    found = [measure(int(nodes), options) for nodes in options.nodes.split(",")]
    print("| " + " | ".join(COLUMNS.values()) + " |\n|" + "---:|" * len(COLUMNS))
    for figures in found:
        print("| " + " | ".join(f"{figures[key]:,}" for key in COLUMNS) + " |")
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
