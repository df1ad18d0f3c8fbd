"""Counts passed and failed tests over several tools, from the JUnit files that they write."""

from __future__ import annotations

import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

SUITE_TIMEOUT_S = 1800


@dataclass
class Tally:
    """What passed and what failed so far; ``failures`` names each failed step or test."""

    passed: int = 0
    failures: list[str] = field(default_factory=list)

    def step(self, name: str, command: list[str], **options: object) -> bool:
        """Run a command that counts as one check. Returns whether it succeeded."""
        print(f"== {name}", flush=True)
        ok = subprocess.run(command, stdin=subprocess.DEVNULL, **options).returncode == 0
        self.add(name, ok)
        return ok

    def add(self, name: str, ok: bool) -> None:
        """Count one check."""
        if ok:
            self.passed += 1
        else:
            self.failures.append(name)

    def suite(self, name: str, command: list[str], report_flag: str, **options: object) -> None:
        """Run a test program that writes a JUnit file where ``report_flag`` says, and count its tests.

        A program that fails without naming a failed test (a crash, no tests at all) counts as one failure.
        """
        print(f"== {name}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.xml"
            ending = run_with_deadline([*command, report_flag, str(report)], **options)
            passed, failed = read_junit(report) if report.exists() else (0, [])
        self.passed += passed
        self.failures += [f"{name}: {test}" for test in failed]
        if ending and not failed:
            self.failures.append(f"{name} {ending}")

    def close(self) -> int:
        """Print the failures and the closing line. Returns the exit status for the process."""
        for failure in self.failures:
            print(f"FAILED {failure}")
        print(f"{self.passed} passed, {len(self.failures)} failed", flush=True)
        return 1 if self.failures else 0


def run_with_deadline(command: list[str], **options: object) -> str:
    """Run a command for at most ``SUITE_TIMEOUT_S``. Returns how it failed, or "" if it succeeded."""
    try:
        status = subprocess.run(
            command, stdin=subprocess.DEVNULL, timeout=SUITE_TIMEOUT_S, **options
        ).returncode
    except subprocess.TimeoutExpired:
        return f"did not end within {SUITE_TIMEOUT_S} s"
    return f"ended with status {status}" if status else ""


def read_junit(path: Path) -> tuple[int, list[str]]:
    """Return the number of passed tests and the names of the failed ones; skipped tests are neither.

    Prints what the failed ones wrote, where the file has it: ctest itself runs quietly.
    """
    passed, failed = 0, []
    for case in ElementTree.parse(path).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            # ctest gives a case one name twice, pytest the module and the function.
            failed.append(" ".join(dict.fromkeys([case.get("classname", ""), case.get("name", "")])))
            print(case.findtext("system-out") or "", end="", flush=True)
        elif case.find("skipped") is None:
            passed += 1
    return passed, failed
