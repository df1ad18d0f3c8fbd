"""Printing of results."""

from __future__ import annotations

import json
from typing import Any

from narke.train.callbacks.callback import TrainingCallback

__all__ = ["PrintCallback"]


class PrintCallback(TrainingCallback):
    """Prints the metrics of all ranks."""

    def handle_result(self, results: list[dict[str, Any]], **info: Any) -> None:
        """Print them as JSON."""
        print(json.dumps(results, default=str))
