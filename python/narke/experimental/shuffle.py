"""A distributed shuffle in terms of tasks: map tasks partition their input, reduce tasks collect a
partition each.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import narke

__all__ = [
    "InType",
    "ObjectStoreWriter",
    "ObjectStoreWriterNonStreaming",
    "OutType",
    "build_cluster",
    "main",
    "render_progress_bar",
    "round_robin_partitioner",
    "run",
    "simple_shuffle",
]

InType = Any
OutType = Any
_PROGRESS_PERIOD_S = 0.5
_ITEM_BYTES = 8 * 10**6


class ObjectStoreWriter:
    """Collects a map task's items for one partition; extend it to pack small items together."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def add(self, item: InType) -> None:
        """Store an item as an object of its own."""
        self.results.append(narke.put(item))

    def finish(self) -> list[Any]:
        """Return what the reduce task gets."""
        return self.results


class ObjectStoreWriterNonStreaming(ObjectStoreWriter):
    """Keeps the items together, so that a partition travels as one object."""

    def add(self, item: InType) -> None:
        """Keep an item."""
        self.results.append(item)

    def finish(self) -> list[Any]:
        """Return the items."""
        return self.results


def round_robin_partitioner(
    input_stream: Iterable[InType], num_partitions: int
) -> Iterator[tuple[int, InType]]:
    """Deal items out in turn: yields (partition, item) pairs."""
    for index, item in enumerate(input_stream):
        yield index % num_partitions, item


class _StatusTracker:
    """Counts the tasks that have finished."""

    def __init__(self) -> None:
        self.maps = 0
        self.reduces = 0

    def finish_map(self) -> None:
        self.maps += 1

    def finish_reduce(self) -> None:
        self.reduces += 1

    def progress(self) -> tuple[int, int]:
        return self.maps, self.reduces


def simple_shuffle(
    *,
    input_reader: Callable[[int], Iterable[InType]],
    input_num_partitions: int,
    output_num_partitions: int,
    output_writer: Callable[[int, list[Any]], OutType],
    partitioner: Callable[[Iterable[InType], int], Iterable[Any]] = round_robin_partitioner,
    object_store_writer: type[ObjectStoreWriter] = ObjectStoreWriter,
    tracker: Any = None,
    streaming: bool = True,
) -> list[OutType]:
    """Read, partition and write in parallel.

    Args:
        input_reader: returns the items of an input partition.
        input_num_partitions: number of map tasks.
        output_num_partitions: number of reduce tasks.
        output_writer: consumes an output partition, in the order of the input partitions: references to its
            items when streaming, else the items.
        partitioner: yields (output partition, item) for an input partition.
        object_store_writer: how a map task stores its items.
        tracker: handle of an actor that counts finished tasks, for `render_progress_bar`.
        streaming: hand references over instead of items.

    Returns:
        What `output_writer` returned for each output partition.
    """
    shuffle_map = narke.remote(_map).options(num_returns=output_num_partitions)
    shuffle_reduce = narke.remote(_reduce)
    parts = [
        shuffle_map.remote(
            input_reader, index, partitioner, output_num_partitions, object_store_writer, tracker
        )
        for index in range(input_num_partitions)
    ]
    columns = zip(*parts, strict=False) if output_num_partitions > 1 else [parts]
    outputs = [
        shuffle_reduce.remote(output_writer, index, streaming, tracker, *column)
        for index, column in enumerate(columns)
    ]
    if tracker is not None:
        render_progress_bar(tracker, input_num_partitions, output_num_partitions)
    return narke.get(outputs)


def _map(
    input_reader: Callable[[int], Iterable[Any]],
    index: int,
    partitioner: Callable[[Iterable[Any], int], Iterable[Any]],
    num_partitions: int,
    writer_cls: type[ObjectStoreWriter],
    tracker: Any,
) -> Any:
    writers = [writer_cls() for _ in range(num_partitions)]
    for partition, item in partitioner(input_reader(index), num_partitions):
        writers[partition].add(item)
    if tracker is not None:
        tracker.finish_map.remote()
    parts = [writer.finish() for writer in writers]
    return parts if num_partitions > 1 else parts[0]


def _reduce(
    output_writer: Callable[[int, list[Any]], Any],
    index: int,
    streaming: bool,
    tracker: Any,
    *parts: list[Any],
) -> Any:
    items = [item for part in parts for item in part]
    if not streaming:
        items = [narke.get(item) if isinstance(item, narke.ObjectRef) else item for item in items]
    result = output_writer(index, items)
    if tracker is not None:
        tracker.finish_reduce.remote()
    return result


def render_progress_bar(tracker: Any, input_num_partitions: int, output_num_partitions: int) -> None:
    """Show how many tasks of a shuffle have finished, until all have."""
    from narke.experimental.tqdm_ray import tqdm

    map_bar = tqdm(total=input_num_partitions, desc="map", position=0)
    reduce_bar = tqdm(total=output_num_partitions, desc="reduce", position=1)
    while reduce_bar.n < output_num_partitions:
        maps, reduces = narke.get(tracker.progress.remote())
        map_bar.update(maps - map_bar.n)
        reduce_bar.update(reduces - reduce_bar.n)
        time.sleep(_PROGRESS_PERIOD_S)
    map_bar.close()
    reduce_bar.close()


def build_cluster(num_nodes: int, num_cpus: int, object_store_memory: float) -> Any:
    """Start a cluster of several nodes on this host; returns its handle."""
    from narke.cluster_utils import Cluster

    cluster = Cluster()
    for _ in range(num_nodes):
        cluster.add_node(num_cpus=num_cpus, object_store_memory=int(object_store_memory))
    cluster.wait_for_nodes()
    return cluster


def run(
    ray_address: str | None = None,
    object_store_memory: float = 1e9,
    num_partitions: int = 5,
    partition_size: float = 200e6,
    num_nodes: int | None = None,
    num_cpus: int = 8,
    no_streaming: bool = False,
    use_wait: bool = False,
    tracker: Any = None,
) -> None:
    """Shuffle random data and print how long it took.

    Args:
        ray_address: cluster to use; None for a new one.
        object_store_memory: bytes of each node's object store.
        num_partitions: input and output partitions.
        partition_size: bytes of a partition.
        num_nodes: nodes to start on this host; None for one.
        num_cpus: CPUs of each node.
        no_streaming: hand whole partitions over instead of references.
        use_wait: take the items of a partition in the order in which they are there.
        tracker: handle of an actor that counts finished tasks; None for a new one.
    """
    _connect(ray_address, object_store_memory, num_nodes, num_cpus)
    tracker = tracker or narke.remote(_StatusTracker).remote()
    items = max(1, int(partition_size // _ITEM_BYTES))
    started_s = time.monotonic()
    sizes = simple_shuffle(
        input_reader=lambda index: _random_items(items),
        input_num_partitions=num_partitions,
        output_num_partitions=num_partitions,
        output_writer=_sum_sizes_by_readiness if use_wait and not no_streaming else _sum_sizes,
        object_store_writer=ObjectStoreWriterNonStreaming if no_streaming else ObjectStoreWriter,
        tracker=tracker,
        streaming=not no_streaming,
    )
    elapsed_s = time.monotonic() - started_s
    print(f"shuffled {sum(sizes) / 1e9:.2f} GB in {elapsed_s:.1f} s, {sum(sizes) / 1e6 / elapsed_s:.0f} MB/s")


def _connect(address: str | None, object_store_memory: float, num_nodes: int | None, num_cpus: int) -> None:
    if address:
        narke.init(address=address)
    elif num_nodes:
        narke.init(address=build_cluster(num_nodes, num_cpus, object_store_memory).address)
    else:
        narke.init(num_cpus=num_cpus, object_store_memory=int(object_store_memory))


def _random_items(count: int) -> Iterator[Any]:
    import numpy as np

    for _ in range(count):
        yield np.random.random_sample(_ITEM_BYTES // 8)


def _sum_sizes(partition: int, items: list[Any]) -> int:
    return sum(narke.get(item).nbytes if isinstance(item, narke.ObjectRef) else item.nbytes for item in items)


def _sum_sizes_by_readiness(partition: int, items: list[Any]) -> int:
    total, pending = 0, list(items)
    while pending:
        ready, pending = narke.wait(pending, num_returns=1)
        total += _sum_sizes(partition, ready)
    return total


def main() -> None:
    """Run the shuffle from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ray-address", default=None)
    parser.add_argument("--object-store-memory", type=float, default=1e9)
    parser.add_argument("--num-partitions", type=int, default=5)
    parser.add_argument("--partition-size", type=float, default=200e6)
    parser.add_argument("--num-nodes", type=int, default=None)
    parser.add_argument("--num-cpus", type=int, default=8)
    parser.add_argument("--no-streaming", action="store_true")
    parser.add_argument("--use-wait", action="store_true")
    run(**vars(parser.parse_args(sys.argv[1:])))


if __name__ == "__main__":
    main()
