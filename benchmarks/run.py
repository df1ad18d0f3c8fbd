"""The rows on Narke, and with --peer ray on Narke and the real Ray in turns.

    ./dev bench [--peer ray] [--only RE] [--rounds N] [--seconds S] [--markdown] [--json FILE]

Figures are medians over rounds. A ratio is the median of the ratios of the same round, turned so that above 1 means
that Narke is better: machines are noisy, and what disturbs a round disturbs both engines.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import limits
import peer
from measure import ENGINE_VARIABLE, LOWER_IS_BETTER, ROOT

BENCHMARKS = Path(__file__).resolve().parent
RUN_TIMEOUT_S = 1800

Outcomes = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Engine:
    """What to run the rows on."""

    name: str
    python: str

    def environment(self) -> dict[str, str]:
        changes = {ENGINE_VARIABLE: self.name, "RAY_USAGE_STATS_ENABLED": "0"}
        if self.name == "narke":
            others = os.environ.get("PYTHONPATH")
            changes["PYTHONPATH"] = str(ROOT / "python") + (f"{os.pathsep}{others}" if others else "")
        return {**os.environ, **changes}

    def run(self, arguments: list[str]) -> Outcomes:
        """Run rows.py once; ends the program when it gives no figures."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "rows.json")
            command = [self.python, str(BENCHMARKS / "rows.py"), "--json", str(path), *arguments]
            done = subprocess.run(
                command, env=self.environment(), capture_output=True, text=True, timeout=RUN_TIMEOUT_S
            )
            if not path.exists():
                sys.exit(
                    f"rows.py on {self.name} ended with status {done.returncode}:\n{done.stderr[-3000:]}"
                )
            return json.loads(path.read_text())


@dataclass(frozen=True)
class Line:
    """A row of the table; figures are None where every round failed."""

    name: str
    unit: str
    about: str
    ours: float | None
    theirs: float | None
    ratio: float | None
    error: str


def advantage(ours: float, theirs: float, unit: str) -> float:
    """How many times better ours is."""
    return theirs / ours if unit in LOWER_IS_BETTER else ours / theirs


def median(values: list[float]) -> float | None:
    return statistics.median(values) if values else None


def lines_of(ours: list[Outcomes], theirs: list[Outcomes]) -> list[Line]:
    """Sum up the rounds; `theirs` is empty without a peer."""
    return [line_of(name, ours, theirs) for name in ours[0]]


def line_of(name: str, ours: list[Outcomes], theirs: list[Outcomes]) -> Line:
    unit = ours[0][name]["unit"]
    pairs = [(a[name]["value"], b[name]["value"]) for a, b in zip(ours, theirs, strict=False)]
    return Line(
        name=name,
        unit=unit,
        about=ours[0][name]["about"],
        ours=median([a[name]["value"] for a in ours if a[name]["value"] is not None]),
        theirs=median([b[name]["value"] for b in theirs if b[name]["value"] is not None]),
        ratio=median([advantage(a, b, unit) for a, b in pairs if a and b]),
        error=next((run[name]["error"] for run in [*ours, *theirs] if run[name]["error"]), ""),
    )


def figure(value: float | None) -> str:
    if value is None:
        return "failed"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def times(ratio: float | None) -> str:
    if ratio is None:
        return "-"
    return f"{ratio:,.0f}x" if ratio >= 10 else f"{ratio:.2f}x"


def print_table(lines: list[Line], with_peer: bool) -> None:
    """Print for people at a terminal."""
    heads = f"{'Ray':>14}{'ratio':>10}" if with_peer else ""
    print(f"{'row':22}{'Narke':>14}{heads}  unit")
    for line in lines:
        peers = f"{figure(line.theirs):>14}{times(line.ratio):>10}" if with_peer else ""
        print(f"{line.name:22}{figure(line.ours):>14}{peers}  {line.unit}")
        if line.error:
            print(f"{'':4}{line.error}")


def print_markdown(lines: list[Line], with_peer: bool) -> None:
    """Print the table as it stands in the README."""
    titles = ["", "row", "Narke", f"Ray {peer.VERSION}", "ratio"] if with_peer else ["", "row", "Narke"]
    print("| " + " | ".join(titles) + " |")
    print("|" + "---|---|" + "---:|" * (len(titles) - 2))
    for line in lines:
        cells = [line.about, f"`{line.name}`", f"{figure(line.ours)} {line.unit}"]
        if with_peer:
            cells += [f"{figure(line.theirs)} {line.unit}", times(line.ratio)]
        print("| " + " | ".join(cells) + " |")


def machine() -> str:
    """Name the processor and what it allows."""
    with open("/proc/cpuinfo") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    allowed = ", ".join(f"{name} {figure(x['value'])} {x['unit']}" for name, x in limits.measure().items())
    return f"{os.cpu_count()} cores of {models[0] if models else 'an unnamed processor'}; limits: {allowed}"


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peer", choices=["ray"], help="also measure this engine, in turns")
    parser.add_argument("--only", default="", help="regular expression of row names (all)")
    parser.add_argument("--rounds", type=int, default=3, help="how often (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row (%(default)s)")
    parser.add_argument("--markdown", action="store_true", help="print the README's table")
    parser.add_argument("--json", help="also write the table to this file")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds is {options.rounds}; at least one is needed")
    return options


def run_rounds(engines: list[Engine], rounds: int, arguments: list[str]) -> dict[str, list[Outcomes]]:
    """Run every engine once a round; each round begins with another one."""
    found: dict[str, list[Outcomes]] = {engine.name: [] for engine in engines}
    for number in range(rounds):
        for engine in engines if number % 2 == 0 else reversed(engines):
            print(f"round {number + 1} of {rounds}: {engine.name}", file=sys.stderr, flush=True)
            found[engine.name].append(engine.run(arguments))
    return found


def main() -> int:
    options = parse_arguments()
    engines = [Engine("narke", sys.executable)]
    if options.peer:
        engines.append(Engine("ray", peer.interpreter()))
    arguments = ["--only", options.only, "--seconds", str(options.seconds)]
    found = run_rounds(engines, options.rounds, arguments)
    lines = lines_of(found["narke"], found.get("ray", []))
    (print_markdown if options.markdown else print_table)(lines, bool(options.peer))
    print(f"\n{machine()}")
    if options.json:
        Path(options.json).write_text(json.dumps([vars(line) for line in lines], indent=1))
    return int(any(line.ours is None for line in lines))


if __name__ == "__main__":
    sys.exit(main())
