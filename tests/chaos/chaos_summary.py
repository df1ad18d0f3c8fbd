"""What came of a run, and what it may not leave behind."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field

from chaos_cluster import processes_of, until

__all__ = ["QUIET_S", "Summary", "check_nothing_left"]

QUIET_S = 20.0  # after this everything has ended


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


def check_nothing_left(folder: str, summary: Summary) -> None:
    """No process and no spilled file of a cluster in `folder` may stay."""
    if not until(lambda: not processes_of(folder), QUIET_S):
        summary.violations.append(f"processes were left: {processes_of(folder)[:5]}")
    for path, _, files in os.walk(folder):
        if os.path.basename(path) == "spill" and files:
            summary.violations.append(f"files were left in {path}: {files[:5]}")
