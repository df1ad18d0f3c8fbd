"""Moving objects between nodes: one to one beside a bare socket, and one to many.

Run as root for network namespaces; otherwise only loopback is measured:

    ./dev build --preset bench narke_transfer_bench
    .venv/bin/python benchmarks/transfer.py
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "build" / "bench" / "src" / "transfer" / "narke_transfer_bench"
PORT = 47_311


class Host:
    """A place where programs run: this machine, or a network namespace with an address of its own."""

    def __init__(self, address: str, namespace: str | None = None) -> None:
        """``namespace`` is one that exists, or None for this machine's own network."""
        self.address = address
        self.prefix = ["ip", "netns", "exec", namespace] if namespace else []

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start the benchmark program and wait until it is ready."""
        command = [*self.prefix, str(PROGRAM), *map(str, words)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError(f"{' '.join(command)} did not start")
        return process


def sh(*words: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(words, check=True)


@contextlib.contextmanager
def namespaces(count: int, megabits: int | None) -> Iterator[list[Host]]:
    """Give ``count`` hosts on one bridge; each link carries ``megabits`` a second each way, or all it can."""
    bridge = f"nrkb{os.getpid()}"
    names = [f"nrk{os.getpid()}n{i}" for i in range(count)]
    try:
        sh("ip", "link", "add", bridge, "type", "bridge")
        sh("ip", "link", "set", bridge, "up")
        for i, name in enumerate(names):
            outer = f"v{os.getpid()}n{i}"
            sh("ip", "netns", "add", name)
            sh("ip", "link", "add", outer, "type", "veth", "peer", "name", "eth0", "netns", name)
            sh("ip", "link", "set", outer, "master", bridge, "up")
            inside = ["ip", "netns", "exec", name]
            sh(*inside, "ip", "addr", "add", f"10.211.0.{i + 1}/24", "dev", "eth0")
            sh(*inside, "ip", "link", "set", "eth0", "up")
            sh(*inside, "ip", "link", "set", "lo", "up")
            if megabits is not None:
                shape = ["root", "tbf", "rate", f"{megabits}mbit", "burst", "256k", "latency", "50ms"]
                sh("tc", "qdisc", "add", "dev", outer, *shape)
                sh(*inside, "tc", "qdisc", "add", "dev", "eth0", *shape)
        yield [Host(f"10.211.0.{i + 1}", name) for i, name in enumerate(names)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, stderr=subprocess.DEVNULL)
        subprocess.run(["ip", "link", "del", bridge], check=False, stderr=subprocess.DEVNULL)


def end(processes: Sequence[subprocess.Popen[str]]) -> None:
    """End programs that were started."""
    for process in processes:
        process.kill()
        process.wait()


def rate_of_small(taker: Host, at: str, rounds: int) -> float:
    """Return how many small objects a second are pulled."""
    output, _ = taker.start("small", f"{taker.address}:{PORT + 2}", at, rounds).communicate(timeout=600)
    return statistics.median(float(line.split()[1]) for line in output.splitlines())


def one_to_one(title: str, giver: Host, taker: Host, mib: int, rounds: int) -> None:
    """Print the rate of pulls beside that of a bare socket, in turns."""
    at = f"{giver.address}:{PORT}"
    give = giver.start("give", at, mib, 1)
    try:
        take = taker.start("take", f"{taker.address}:{PORT + 1}", at, mib, rounds)
        output, _ = take.communicate(timeout=600)
        small = rate_of_small(taker, at, rounds)
    finally:
        end([give])
    lines = [line.split() for line in output.splitlines()]
    raw = [float(value) for name, value in lines if name == "raw"]
    pulls = [float(value) for name, value in lines if name == "pull"]
    gb = mib * 2**20 / 1e9
    ratio = statistics.median(a / b for a, b in zip(raw, pulls, strict=True))
    print(
        f"{title}: {mib} MiB, pull {gb / statistics.median(pulls):.2f} GB/s, "
        f"socket {gb / statistics.median(raw):.2f} GB/s, ratio {ratio:.2f}; "
        f"{small:,.0f} objects of 128 KiB a second",
        flush=True,
    )


def one_to_many(hosts: list[Host], mib: int, fan_out: int) -> float:
    """Return the seconds until all hosts but the first have the first's object."""
    at = f"{hosts[0].address}:{PORT}"
    processes = [hosts[0].start("give", at, mib, fan_out)]
    try:
        start = time.time() + 1.0 + 0.3 * len(hosts)
        for host in hosts[1:]:
            processes.append(host.start("join", f"{host.address}:{PORT}", at, mib, start, fan_out))
        ends = []
        for process in processes[1:]:
            assert process.stdout is not None
            ends.append(float(process.stdout.readline().split()[1]))
        return max(ends) - start
    finally:
        end(processes)


def broadcast(nodes: int, mib: int, megabits: int, rounds: int) -> None:
    """Print how much longer it takes to bring one object to many nodes than to one."""
    with namespaces(nodes + 1, megabits) as hosts:
        for fan_out, shape in ((1, "chain"), (2, "tree of 2")):
            ratios = []
            for _ in range(rounds):
                one = one_to_many(hosts[:2], mib, fan_out)
                many = one_to_many(hosts, mib, fan_out)
                ratios.append(many / one)
            print(
                f"broadcast of {mib} MiB to {nodes} nodes over {megabits} Mbit/s, {shape}: "
                f"{many:.2f} s, to one {one:.2f} s, ratio {statistics.median(ratios):.2f}",
                flush=True,
            )


def main() -> int:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="size of the object one to one")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--nodes", type=int, default=8, help="of the broadcast")
    parser.add_argument("--broadcast-mib", type=int, default=256)
    parser.add_argument("--megabits", type=int, default=1000, help="of each link in the broadcast")
    parser.add_argument("--only", choices=["loopback", "namespaces", "broadcast"])
    options = parser.parse_args()
    if not PROGRAM.is_file():
        print("Build it first: ./dev build --preset bench narke_transfer_bench", file=sys.stderr)
        return 2
    chosen = [options.only] if options.only else ["loopback", "namespaces", "broadcast"]
    if "loopback" in chosen:
        here = Host("127.0.0.1")
        one_to_one("loopback", here, here, options.mib, options.rounds)
    if os.geteuid() != 0:
        print("Namespaces need root; measured on loopback only.")
        return 0
    if "namespaces" in chosen:
        with namespaces(2, None) as (giver, taker):
            one_to_one("two namespaces", giver, taker, options.mib, options.rounds)
    if "broadcast" in chosen:
        broadcast(options.nodes, options.broadcast_mib, options.megabits, max(1, options.rounds // 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
