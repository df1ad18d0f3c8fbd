"""Faults under a load whose results are checked: ``./dev chaos [--minutes N] [--seed N] [--namespaces]``.

Prints what was done, how often, and what was found; ends with status 1 when anything was lost, ran twice against its
contract, or stayed behind.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "cluster")]

from chaos_cluster import ChaosCluster, open_files, until  # noqa: E402
from chaos_disk import SmallDisk  # noqa: E402
from chaos_faults import FAULTS, Faults  # noqa: E402
from chaos_hosts import Hosts  # noqa: E402
from chaos_summary import QUIET_S, Summary, check_nothing_left  # noqa: E402

_PAUSE_S = 1.0  # between two faults
_MORE_FILES = 60  # descriptors that a daemon may have open beyond those at the beginning


def run(seconds: float, seed: int, namespaces: bool = False, kinds: Sequence[str] = FAULTS) -> Summary:
    """Hurt a cluster for so many seconds.

    Args:
        seconds: for how long faults are begun; every kind happens at least once.
        seed: decides which faults, and whom they hit.
        namespaces: each node is a host of its own, a network namespace. Needs root and iproute2.
        kinds: the faults.
    """
    summary = Summary(seed)
    places = Hosts.made() if namespaces else contextlib.nullcontext()
    with (
        tempfile.TemporaryDirectory(prefix="nk-") as folder,
        SmallDisk.mounted(folder) as disk,
        places as hosts,
    ):
        cluster = ChaosCluster(folder, hosts=hosts)
        cluster.disk = disk
        try:
            with tempfile.TemporaryDirectory(prefix="nl-") as ledger:  # not on the disk that is filled
                _run_on(cluster, ledger, seconds, summary, kinds)
        finally:
            cluster.stop()
        check_nothing_left(folder, summary)
    return summary


def _run_on(
    cluster: ChaosCluster, ledger: str, seconds: float, summary: Summary, kinds: Sequence[str]
) -> None:
    command = [
        *cluster.home.inside,
        sys.executable,
        str(_HERE / "chaos_load.py"),
        cluster.home.session,
        ledger,
    ]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert load.stdout is not None
    if load.stdout.readline().strip() != "ready":
        raise RuntimeError(f"the load did not begin: {load.communicate()[1][-2000:]}")
    before = {name: open_files(pid) for name, pid in cluster.daemons()}
    began = time.monotonic()
    _hurt(cluster, seconds, summary, load, kinds)
    with open(os.path.join(ledger, "stop"), "w", encoding="ascii"):
        pass
    out, err = load.communicate(timeout=300)
    summary.seconds = time.monotonic() - began
    if load.returncode != 0 or not out.strip():
        summary.violations.append(f"the program under load ended with {load.returncode}: {err[-1500:]}")
        return
    answer = json.loads(out.splitlines()[-1])
    summary.counts = answer["counts"]
    summary.violations += answer["violations"]
    for name, pid in cluster.daemons():
        if not until(lambda pid=pid, name=name: open_files(pid) < before[name] + _MORE_FILES, QUIET_S):
            summary.violations.append(
                f"{name} has {open_files(pid)} files open, {before[name]} at the beginning"
            )
    if not until(lambda: not cluster.home.workers(), QUIET_S):
        summary.violations.append(f"workers outlived their job: {cluster.home.workers()}")


def _hurt(
    cluster: ChaosCluster,
    seconds: float,
    summary: Summary,
    load: subprocess.Popen[str],
    kinds: Sequence[str],
) -> None:
    source = random.Random(summary.seed)
    faults = Faults(cluster, source)
    waiting = list(kinds)
    source.shuffle(waiting)
    deadline = time.monotonic() + seconds
    while (waiting or time.monotonic() < deadline) and load.poll() is None:
        name = waiting.pop() if waiting else source.choice(kinds)
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        getattr(faults, name)()
        summary.faults[name] += 1
        time.sleep(_PAUSE_S * source.random())


def _chosen(serve: bool) -> Callable[[float, int], Summary]:
    if not serve:
        return run
    import chaos_serve

    return chaos_serve.run


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for how long (%(default)s)")
    parser.add_argument("--serve", action="store_true", help="hurt Serve instead of tasks and actors")
    parser.add_argument("--seed", type=int, default=None, help="a run's own by default")
    parser.add_argument(
        "--namespaces", action="store_true", help="each node in a network namespace of its own (root)"
    )
    options = parser.parse_args(argv)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    if options.serve and options.namespaces:
        parser.error("--serve and --namespaces do not go together")
    if options.namespaces:
        summary = run(options.minutes * 60, seed, namespaces=True)
    else:
        summary = _chosen(options.serve)(options.minutes * 60, seed)
    print(summary.text())
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
