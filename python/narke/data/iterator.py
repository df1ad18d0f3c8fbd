"""Iterating over blocks as rows and batches; fetching goes on in a thread while a batch is used."""

from __future__ import annotations

import abc
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

import narke
from narke.data import blocks as blk
from narke.data import tensors
from narke.data.blocks import Block
from narke.data.plan import Bundle

POLL_S = 0.2


def fetched(bundles: Iterable[Bundle]) -> Iterator[Block]:
    """The blocks of bundles; those without rows are left out."""
    return (narke.get(bundle.ref) for bundle in bundles if bundle.rows)


def shuffled(blocks: Iterable[Block], buffer_rows: int, seed: int | None, batch_rows: int) -> Iterator[Block]:
    """The same rows, each drawn at random from a buffer of at least `buffer_rows` while there are so many."""
    rng = np.random.default_rng(seed)
    held: list[Block] = []
    count = 0
    for block in blocks:
        held.append(block)
        count += block.num_rows
        if count >= 2 * buffer_rows + batch_rows:
            mixed = blk.take(blk.concat(held), rng.permutation(count))
            yield mixed.slice(0, count - buffer_rows)
            held, count = [mixed.slice(count - buffer_rows)], buffer_rows
    if count:
        yield blk.take(blk.concat(held), rng.permutation(count))


class Prefetched:
    """Items of an iterator, taken up to `depth` ahead by a thread. Ending the iteration ends the thread.

    Args:
        source: makes the iterator, in the thread. depth: items held.
    """

    def __init__(self, source: Callable[[], Iterator[Any]], depth: int):
        self._source = source
        self._items: queue.Queue[tuple[str, Any]] = queue.Queue(maxsize=max(1, depth))
        self._ended = threading.Event()

    def __iter__(self) -> Iterator[Any]:
        thread = threading.Thread(target=self._fill, name="narke-data-prefetch", daemon=True)
        thread.start()
        try:
            while True:
                kind, item = self._items.get()  # the thread always ends with "done" or "error"
                if kind == "done":
                    return
                if kind == "error":
                    raise item
                yield item
        finally:
            self._ended.set()
            thread.join()

    def _fill(self) -> None:
        try:
            items = self._source()
            for item in items:
                if not self._offer(("item", item)):
                    items.close()  # type: ignore[attr-defined]
                    return
            self._offer(("done", None))
        except BaseException as error:  # noqa: B902  # handed to the thread that iterates
            self._offer(("error", error))

    def _offer(self, entry: tuple[str, Any]) -> bool:
        while not self._ended.is_set():
            try:
                self._items.put(entry, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False


def batches(
    bundles: Callable[[], Iterator[Bundle]],
    batch_size: int | None,
    batch_format: str | None,
    drop_last: bool,
    buffer_rows: int | None,
    seed: int | None,
) -> Iterator[Any]:
    """Batches of the rows of bundles; see `DataIterator.iter_batches`."""
    source = bundles()
    try:
        stream = fetched(source)
        if buffer_rows:
            stream = shuffled(stream, buffer_rows, seed, batch_size or 1)
        for batch in blk.rebatch(stream, batch_size):
            if not (drop_last and batch_size and batch.num_rows < batch_size):
                yield blk.to_batch(batch, batch_format)
    finally:
        source.close()  # type: ignore[attr-defined]


class Iterating(abc.ABC):
    """The ways to go over rows; `_bundles` gives the blocks anew each time."""

    @abc.abstractmethod
    def _bundles(self) -> Iterator[Bundle]:
        """The blocks, in order."""

    def iter_rows(self) -> Iterator[dict[str, Any]]:
        """Rows as dicts."""
        for block in fetched(self._bundles()):
            yield from blk.iter_rows(block)

    def iter_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        batch_format: str | None = "default",
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
    ) -> Iterable[Any]:
        """Batches of rows.

        Args:
            prefetch_batches: batches to have ready while one is used; 0 uses no thread.
            batch_size: rows of each but the last; None gives whole blocks.
            batch_format: "numpy" ("default"), "pandas" or "pyarrow".
            drop_last: leave out a last batch that is not full.
            local_shuffle_buffer_size: draw rows at random from a buffer of so many. local_shuffle_seed: fixes the draw.

        Returns:
            an iterable; each iteration runs the dataset again.
        """
        shuffle = (local_shuffle_buffer_size, local_shuffle_seed)
        return self._batches(prefetch_batches, batch_size, batch_format, drop_last, shuffle)

    def _batches(
        self, depth: int, size: int | None, form: str | None, drop_last: bool, shuffle: tuple[Any, Any]
    ) -> Iterable[Any]:
        """What `iter_batches` gives; `shuffle` is (rows of the buffer, seed)."""
        blk.check_format(form)
        if size is not None and size < 1:
            raise ValueError(f"batch_size must be a positive number or None, not {size!r}")
        if size is None and shuffle[0] is not None:
            raise ValueError(
                "local_shuffle_buffer_size needs a batch_size: say how many rows a batch is to have"
            )

        def run() -> Iterator[Any]:
            return batches(self._bundles, size, form, drop_last, *shuffle)

        return Prefetched(run, depth) if depth > 0 else Again(run)

    def iter_torch_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        device: Any = "auto",
        collate_fn: Callable[[dict[str, np.ndarray]], Any] | None = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        pin_memory: bool = False,
    ) -> Iterable[Any]:
        """Batches as dicts of torch tensors; needs torch.

        Args:
            dtypes: torch dtype for all columns, or a dict by column. device: where to; "auto" is the CPU.
            collate_fn: makes the batch of a dict of arrays itself. The rest: see `iter_batches`.
        """
        shuffle = (local_shuffle_buffer_size, local_shuffle_seed)
        form = getattr(collate_fn, "batch_format", "numpy")
        plain_batches = self._batches(prefetch_batches, batch_size, form, drop_last, shuffle)
        convert = collate_fn or (lambda batch: tensors.to_torch(batch, dtypes, device, pin_memory))
        return Again(lambda: (convert(batch) for batch in plain_batches))

    def iter_tf_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
    ) -> Iterable[Any]:
        """Batches as dicts of TensorFlow tensors; needs tensorflow.

        Args:
            dtypes: dtype for all columns, or a dict by column. The rest: see `iter_batches`.
        """
        shuffle = (local_shuffle_buffer_size, local_shuffle_seed)
        plain = self._batches(prefetch_batches, batch_size, "numpy", drop_last, shuffle)
        return Again(lambda: (tensors.to_tf(batch, dtypes) for batch in plain))

    def iter_jax_batches(
        self,
        *,
        prefetch_batches: int = 1,
        batch_size: int | None = 256,
        dtypes: Any = None,
        collate_fn: Callable[[dict[str, np.ndarray]], Any] | None = None,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        synchronize_batches: bool = False,
        paddings: Any = None,
    ) -> Iterable[Any]:
        """Batches as dicts of JAX arrays of this process; needs jax.

        Args:
            dtypes: dtype for all columns, or a dict by column. collate_fn: makes the batch of a dict of arrays itself.
            paddings: value that fills lists of a column up to one length, for all or by column.
            synchronize_batches: not built; leave it out. The rest: see `iter_batches`.
        """
        if synchronize_batches:
            raise NotImplementedError("synchronize_batches is not built; leave it out")
        shuffle = (local_shuffle_buffer_size, local_shuffle_seed)
        plain = self._batches(prefetch_batches, batch_size, "numpy", drop_last, shuffle)
        convert = collate_fn or (lambda batch: tensors.to_jax(batch, dtypes, paddings))
        return Again(lambda: (convert(batch) for batch in plain))

    def to_tf(
        self,
        feature_columns: str | list[str],
        label_columns: str | list[str],
        *,
        additional_columns: str | list[str] | None = None,
        prefetch_batches: int = 1,
        batch_size: int = 1,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        feature_type_spec: Any = None,
        label_type_spec: Any = None,
        additional_type_spec: Any = None,
    ) -> Any:
        """A tf.data.Dataset of (features, labels) or (features, labels, additional); needs tensorflow.

        Args:
            feature_columns, label_columns, additional_columns: a name gives a tensor, a list a dict of tensors.
            feature_type_spec, label_type_spec, additional_type_spec: tf.TypeSpecs; else a first batch shows them.
            the rest: see `iter_batches`.
        """
        shuffle = (local_shuffle_buffer_size, local_shuffle_seed)

        def run() -> Iterable[Any]:
            return self._batches(prefetch_batches, batch_size, "numpy", drop_last, shuffle)

        parts = [feature_columns, label_columns, additional_columns]
        return tensors.tf_dataset(run, parts, [feature_type_spec, label_type_spec, additional_type_spec])

    def to_torch(
        self,
        *,
        label_column: str | None = None,
        feature_columns: Any = None,
        label_column_dtype: Any = None,
        feature_column_dtypes: Any = None,
        batch_size: int = 1,
        prefetch_batches: int = 1,
        drop_last: bool = False,
        local_shuffle_buffer_size: int | None = None,
        local_shuffle_seed: int | None = None,
        unsqueeze_label_tensor: bool = True,
        unsqueeze_feature_tensors: bool = True,
    ) -> Any:
        """A torch IterableDataset of (features, label); needs torch.

        Args:
            label_column: None gives None for labels. feature_columns: a list of names gives one tensor, a list of such
                lists a list of tensors, a dict of them a dict; by default all but the label.
            label_column_dtype, feature_column_dtypes: torch dtypes, in the same form.
            unsqueeze_label_tensor, unsqueeze_feature_tensors: make columns of numbers two-dimensional.
            the rest: see `iter_batches`.
        """
        shuffle = (local_shuffle_buffer_size, local_shuffle_seed)
        plain = self._batches(prefetch_batches, batch_size, "numpy", drop_last, shuffle)
        return tensors.torch_iterable(
            plain,
            label_column,
            feature_columns,
            label_column_dtype,
            feature_column_dtypes,
            unsqueeze_label_tensor,
            unsqueeze_feature_tensors,
        )


class Again:
    """An iterable that makes its iterator anew each time."""

    def __init__(self, make: Callable[[], Iterator[Any]]):
        self._make = make

    def __iter__(self) -> Iterator[Any]:
        return self._make()


class DataIterator(Iterating):
    """Goes over a dataset, or over one share of it, as often as asked."""

    def __init__(self, dataset: Any):
        self._dataset = dataset

    def __repr__(self) -> str:
        return f"DataIterator({self._dataset!r})"

    def _bundles(self) -> Iterator[Bundle]:
        return self._dataset._bundles()

    def schema(self) -> Any:
        """Names and types of columns."""
        return self._dataset.schema()

    def stats(self) -> str:
        """What each operator did when it ran last."""
        return self._dataset.stats()

    def materialize(self) -> Any:
        """Its rows as a dataset whose blocks are in the object store."""
        return self._dataset.materialize()

    def get_context(self) -> Any:
        """The settings it runs with."""
        return self._dataset.context


DatasetIterator = DataIterator
