"""What an execution has done so far: for people at a terminal, and for the dashboard in the cluster's key-value table.

The table holds, in namespace `NAMESPACE` under "<job id>/<n>", one JSON object per execution (the last `KEPT` of each
job):

    {"name": str, "state": "RUNNING" | "FINISHED" | "FAILED", "started_s": float, "updated_s": float,
     "operators": [{"name": str, "tasks": int, "running": int, "blocks": int, "rows": int, "size_bytes": int,
                    "queued_blocks": int, "queued_bytes": int, "busy_s": float, "errors": int}, ...]}

Times are seconds since 1970. Operators stand in the order of the data.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from narke._private import kv

if TYPE_CHECKING:
    from narke.data.execute.operators import Operator

NAMESPACE = "narke_data"
KEPT = 50
PUBLISH_S = 0.5
DRAW_S = 0.2

_numbers = itertools.count()


def running_datasets() -> list[dict[str, Any]]:
    """The executions that the cluster remembers, as the objects described above."""
    keys = kv.keys("", namespace=NAMESPACE)
    found = (kv.get(key, namespace=NAMESPACE) for key in keys)
    return [json.loads(value) for value in found if value]


class Progress:
    """Publishes and draws the state of one execution's operators, no more often than is of use.

    Args:
        name: of the dataset. operators: in the order of the data. bar: whether a terminal shows a line.
    """

    def __init__(self, name: str, operators: list[Operator], bar: bool):
        import narke

        self._name, self._operators = name, operators
        self._key = f"{narke.get_runtime_context().get_job_id()}/{next(_numbers) % KEPT}"
        self._started_s = time.time()
        self._published = self._drawn = time.monotonic()
        self._bar = bar and sys.stderr.isatty()
        self._ended = False

    def update(self) -> None:
        """Something may have changed."""
        now = time.monotonic()
        if self._bar and now - self._drawn > DRAW_S:
            self._drawn = now
            print(f"\r\x1b[K{self.line()}", end="", file=sys.stderr, flush=True)
        if now - self._published > PUBLISH_S:
            self._published = now
            self._publish("RUNNING")

    def end(self, state: str) -> None:
        """The execution is over; again does nothing."""
        if self._ended:
            return
        self._ended = True
        if self._bar:
            print(f"\r\x1b[K{self.line()}", file=sys.stderr, flush=True)
        self._publish(state)

    def line(self) -> str:
        """Tasks and rows of each operator in one line."""
        parts = (
            f"{op.stats.name}: {op.stats.rows:,} rows, {len(list(op.running()))} tasks"
            for op in self._operators
        )
        return " | ".join(parts)[:200]

    def _publish(self, state: str) -> None:
        about = {
            "name": self._name,
            "state": state,
            "started_s": self._started_s,
            "updated_s": time.time(),
            "operators": [_described(op) for op in self._operators],
        }
        kv.put(self._key, json.dumps(about), namespace=NAMESPACE)


def _described(op: Operator) -> dict[str, Any]:
    stats = op.stats
    return {
        "name": stats.name,
        "tasks": stats.tasks,
        "running": len(list(op.running())),
        "blocks": stats.blocks,
        "rows": stats.rows,
        "size_bytes": stats.size_bytes,
        "queued_blocks": len(op.outputs),
        "queued_bytes": op.queued_bytes(),
        "busy_s": round(stats.busy_s, 6),
        "errors": stats.errors,
    }
