"""How datasets reach the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from narke.data.context import ExecutionOptions
    from narke.data.dataset import Dataset
    from narke.data.iterator import DataIterator

__all__ = ["DataConfig", "read_by_workers"]


class DataConfig:
    """Which datasets are split over the workers, and how they are run.

    Args:
        datasets_to_split: their names, or "all"; each worker gets all of the others.
        execution_options: of the datasets' runs: for all, or by name.
        enable_shard_locality: prefer blocks that are on the worker's node.

    Raises:
        TypeError: `datasets_to_split` is neither "all" nor a list.
    """

    def __init__(
        self,
        datasets_to_split: Literal["all"] | list[str] = "all",
        execution_options: ExecutionOptions | dict[str, ExecutionOptions] | None = None,
        enable_shard_locality: bool = True,
    ) -> None:
        if not (datasets_to_split == "all" or isinstance(datasets_to_split, list)):
            raise TypeError(
                f"DataConfig.datasets_to_split is {datasets_to_split!r}; it must be 'all' or a list of names"
            )
        self._datasets_to_split = datasets_to_split
        self._execution_options = execution_options
        self._enable_shard_locality = enable_shard_locality

    def configure(
        self,
        datasets: dict[str, Dataset],
        world_size: int,
        worker_handles: list[Any] | None,
        worker_node_ids: list[str] | None,
        **kwargs: Any,
    ) -> list[dict[str, DataIterator]]:
        """The parts of the datasets, by rank and name.

        Args:
            datasets: by name.
            world_size: number of workers.
            worker_handles, worker_node_ids: of the workers, by rank.

        Raises:
            ValueError: a dataset that is to be split was not given.
        """
        wanted = set(datasets) if self._datasets_to_split == "all" else set(self._datasets_to_split)
        missing = wanted - set(datasets)
        if missing:
            raise ValueError(f"DataConfig splits {sorted(missing)}; datasets= has only {sorted(datasets)}")
        shards: list[dict[str, Any]] = [{} for _ in range(world_size)]
        for name, dataset in datasets.items():
            self._set_options(name, dataset)
            if name in wanted:
                hints = worker_node_ids if self._enable_shard_locality else None
                parts = dataset.streaming_split(world_size, equal=True, locality_hints=hints)
                if parts and hasattr(parts[0], "warm_up"):
                    parts[0].warm_up()  # while the training functions begin
            else:
                parts = [dataset.iterator() for _ in range(world_size)]
            for rank, part in enumerate(parts):
                shards[rank][name] = part
        return shards

    def _set_options(self, name: str, dataset: Dataset) -> None:
        read_by_workers({name: dataset})
        options = self._execution_options
        if isinstance(options, dict):
            options = options.get(name)
        if options is not None:
            dataset.context.execution_options = options

    @staticmethod
    def default_ingest_options() -> ExecutionOptions:
        """The options that datasets of a training run have when none are given: those of this process."""
        from narke.data.context import DataContext

        return DataContext.get_current().execution_options


def read_by_workers(datasets: dict[str, Any]) -> None:
    """Say in datasets that those who read them may hold all CPUs: their tasks then run beside them.

    Args:
        datasets: by name.
    """
    from narke.data.context import BESIDE_CONSUMERS

    for dataset in datasets.values():
        if hasattr(dataset, "context"):
            dataset.context.set_config(BESIDE_CONSUMERS, True)
