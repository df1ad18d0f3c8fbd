"""The base of callbacks of `Trainer`."""

from __future__ import annotations

from typing import Any

__all__ = ["TrainingCallback"]


class TrainingCallback:
    """Called as a run goes on; override what is needed."""

    RESERVED_KEYS: set[str] = set()
    results_preprocessor: Any = None

    def start_training(self, logdir: str, config: dict[str, Any], **info: Any) -> None:
        """The run begins.

        Args:
            logdir: the trainer's folder.
            config: of the training function.
        """

    def process_results(self, results: list[dict[str, Any]], **info: Any) -> None:
        """All workers have reported; by default calls `handle_result`.

        Args:
            results: metrics by rank.
        """
        if self.results_preprocessor is not None:
            results = self.results_preprocessor.preprocess(results)
        self.handle_result(results, **info)

    def handle_result(self, results: list[dict[str, Any]], **info: Any) -> None:
        """All workers have reported.

        Args:
            results: metrics by rank.
        """

    def finish_training(self, error: bool = False, **info: Any) -> None:
        """The run has ended.

        Args:
            error: whether with an error.
        """


def of_workers(results: list[dict[str, Any]], wanted: int | list[int] | None) -> list[dict[str, Any]]:
    """The metrics of some ranks.

    Args:
        results: by rank.
        wanted: a rank, ranks, or None for all.
    """
    if wanted is None:
        return list(results)
    return [results[rank] for rank in ([wanted] if isinstance(wanted, int) else wanted)]
