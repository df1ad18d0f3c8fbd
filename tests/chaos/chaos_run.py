"""Faults under a load whose results are checked: ``./dev chaos [--minutes N] [--seed N]``.

Prints what was done, how often, and what was found; ends with status 1 when anything was lost, ran twice against its
contract, or stayed behind.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "cluster")]

from chaos_cluster import ChaosCluster, open_files, processes_of, until  # noqa: E402
from chaos_disk import SmallDisk  # noqa: E402
from chaos_faults import FAULTS, Faults  # noqa: E402

_PAUSE_S = 1.0  # between two faults
_QUIET_S = 20.0
_MORE_FILES = 60  # descriptors that a daemon may have open beyond those at the beginning


@dataclass
class Summary:
    """What came of a run."""

    seed: int
    seconds: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people."""
        lines = [f"chaos: seed {self.seed}, {self.seconds:.0f} s under load"]
        lines.append(
            "  faults: " + ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        )
        lines.append(
            "  work:   " + ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        )
        lines += [f"  WRONG:  {text}" for text in self.violations]
        found = (
            f"{len(self.violations)} violations"
            if self.violations
            else "nothing lost, nothing twice, nothing left"
        )
        return "\n".join([*lines, f"  {found}"])


def run(seconds: float, seed: int) -> Summary:
    """Hurt a cluster for so many seconds.

    Args:
        seconds: for how long faults are begun; every kind happens at least once.
        seed: decides which faults, and whom they hit.
    """
    summary = Summary(seed)
    with tempfile.TemporaryDirectory(prefix="nk-") as folder, SmallDisk.mounted(folder) as disk:
        cluster = ChaosCluster(folder)
        cluster.disk = disk
        try:
            with tempfile.TemporaryDirectory(prefix="nl-") as ledger:  # not on the disk that is filled
                _run_on(cluster, ledger, seconds, summary)
        finally:
            cluster.stop()
        _check_nothing_left(folder, summary)
    return summary


def _run_on(cluster: ChaosCluster, ledger: str, seconds: float, summary: Summary) -> None:
    command = [sys.executable, str(_HERE / "chaos_load.py"), cluster.home.session, ledger]
    load = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert load.stdout is not None
    if load.stdout.readline().strip() != "ready":
        raise RuntimeError(f"the load did not begin: {load.communicate()[1][-2000:]}")
    before = {name: open_files(pid) for name, pid in cluster.daemons()}
    began = time.monotonic()
    _hurt(cluster, seconds, summary, load)
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
        if not until(lambda pid=pid, name=name: open_files(pid) < before[name] + _MORE_FILES, _QUIET_S):
            summary.violations.append(
                f"{name} has {open_files(pid)} files open, {before[name]} at the beginning"
            )
    if not until(lambda: not cluster.home.workers(), _QUIET_S):
        summary.violations.append(f"workers outlived their job: {cluster.home.workers()}")


def _hurt(cluster: ChaosCluster, seconds: float, summary: Summary, load: subprocess.Popen[str]) -> None:
    source = random.Random(summary.seed)
    faults = Faults(cluster, source)
    waiting = list(FAULTS)
    source.shuffle(waiting)
    deadline = time.monotonic() + seconds
    while (waiting or time.monotonic() < deadline) and load.poll() is None:
        name = waiting.pop() if waiting else source.choice(FAULTS)
        print(f"{time.strftime('%H:%M:%S')} {name}", flush=True)
        getattr(faults, name)()
        summary.faults[name] += 1
        time.sleep(_PAUSE_S * source.random())


def _check_nothing_left(folder: str, summary: Summary) -> None:
    if not until(lambda: not processes_of(folder), _QUIET_S):
        summary.violations.append(f"processes were left: {processes_of(folder)[:5]}")
    for path, _, files in os.walk(folder):
        if os.path.basename(path) == "spill" and files:
            summary.violations.append(f"files were left in {path}: {files[:5]}")


def main(argv: list[str] | None = None) -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="./dev chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="for how long (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="a run's own by default")
    options = parser.parse_args(argv)
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(1 << 31)
    summary = run(options.minutes * 60, seed)
    print(summary.text())
    return 1 if summary.violations else 0


if __name__ == "__main__":
    sys.exit(main())
