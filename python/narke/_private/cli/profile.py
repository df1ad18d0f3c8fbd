"""``narke profile``: where a worker or driver spends its time, found by looking at its stacks many times a second."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from typing import Any

from narke._private.cli.connection import connected, run
from narke._private.cli.output import table

__all__ = ["main"]

_MOST_SHOWN = 20


def main(words: list[str]) -> int:
    """Record, and print or write the profile; returns 0, or 1 when there is no such program."""
    parser = argparse.ArgumentParser(prog="narke profile", description=__doc__)
    parser.add_argument("pid", type=int, help="the process, as in `narke list workers`")
    parser.add_argument("--address", help="the cluster; the latest one by default")
    parser.add_argument("--duration", type=int, default=5, help="seconds, 5 by default")
    parser.add_argument("--rate", type=int, default=100, help="looks a second, 100 by default")
    parser.add_argument("--idle", action="store_true", help="count threads that wait, too")
    parser.add_argument("--format", choices=("table", "raw", "speedscope"), default="table")
    parser.add_argument("--output", help="the file to write; the terminal by default")
    return run("profile", _record, parser.parse_args(words))


def _record(options: argparse.Namespace) -> None:
    from narke._private import control

    with connected(options.address):
        profile = control.call(
            "probe",
            timeout_ms=(options.duration + 20) * 1000,
            what="cpu_profile",
            pid=options.pid,
            duration=options.duration,
            rate=options.rate,
            idle=options.idle,
        )
    text = {"raw": _collapsed, "speedscope": _speedscope, "table": _table}[options.format](profile)
    if options.output is None:
        print(text)
        return
    with open(options.output, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    print(f"Written to {options.output}.")


def _label(frame: dict[str, Any]) -> str:
    return f"{frame['function']} ({frame['file'].rpartition('/')[2]}:{frame['line']})"


def _collapsed(profile: dict[str, Any]) -> str:
    """A line for each chain of calls, as flame graph programs read it."""
    return "\n".join(
        f"{';'.join(map(_label, stack['frames']))} {stack['count']}" for stack in profile["stacks"]
    )


def _speedscope(profile: dict[str, Any]) -> str:
    """The file format of https://www.speedscope.app."""
    known: dict[str, int] = {}
    frames: list[dict[str, Any]] = []
    samples = []
    for stack in profile["stacks"]:
        for frame in stack["frames"]:
            if known.setdefault(_label(frame), len(frames)) == len(frames):
                frames.append({"name": frame["function"], "file": frame["file"], "line": frame["line"]})
        samples.append([known[_label(frame)] for frame in stack["frames"]])
    weights = [stack["count"] for stack in profile["stacks"]]
    name = f"process {profile['pid']}"
    sampled = {"type": "sampled", "name": name, "unit": "none", "startValue": 0, "endValue": sum(weights)}
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "name": name,
            "shared": {"frames": frames},
            "profiles": [{**sampled, "samples": samples, "weights": weights}],
        }
    )


def _table(profile: dict[str, Any]) -> str:
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack in profile["stacks"]:
        names = [f"{frame['function']} ({frame['file']})" for frame in stack["frames"]]
        own[names[-1]] += stack["count"]
        whole.update(dict.fromkeys(names, stack["count"]))
    all_samples = sum(own.values())
    if not all_samples:
        return f"Process {profile['pid']} waited the whole time; --idle shows where."
    rows = [
        [f"{100 * own[name] / all_samples:.1f}%", f"{100 * whole[name] / all_samples:.1f}%", name]
        for name in sorted(whole, key=lambda name: (-own[name], -whole[name]))[:_MOST_SHOWN]
    ]
    return f"{all_samples} samples of process {profile['pid']}\n" + table(["self", "total", "function"], rows)
