"""The base of sources of files that users write themselves."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data.datasource import files
from narke.data.datasource import paths as _paths
from narke.data.datasource.datasource import ReadTask


@dataclasses.dataclass
class FileShuffleConfig:
    """Files in random order.

    Args:
        seed: fixes the order. reseed_after_execution: accepted for Ray's programs; each source draws its order once.
    """

    seed: int | None = None
    reseed_after_execution: bool = True

    def get_seed(self, execution_idx: int = 0) -> int | None:
        """The seed of an execution; with `reseed_after_execution` another for each."""
        if self.seed is None or not self.reseed_after_execution:
            return self.seed
        return hash((self.seed, execution_idx))


def shuffled_files(found: list[_paths.File], shuffle: Any) -> list[_paths.File]:
    """Files in the order that a `shuffle` argument asks for.

    Raises:
        ValueError: there is no such shuffle.
    """
    if shuffle is None:
        return found
    if not isinstance(shuffle, FileShuffleConfig) and shuffle != "files":
        raise ValueError(f"shuffle must be 'files', a FileShuffleConfig or None, not {shuffle!r}")
    rng = np.random.default_rng(shuffle.seed if isinstance(shuffle, FileShuffleConfig) else None)
    return [found[i] for i in rng.permutation(len(found))]


class FileBasedDatasource(files.FileSource):
    """Whole files, read by `_read_stream`, which subclasses define.

    Args:
        paths: file, folder, URI, pattern, or list of them. filesystem, partitioning, partition_filter,
        ignore_missing_paths, shuffle, include_paths, file_extensions: as those of `read_csv`.
        open_stream_args: of the filesystem's `open_input_stream`.
        meta_provider: `BaseFileMetadataProvider` that finds the files; by default they are found here.
        schema: accepted for Ray's programs; what files hold is found by reading them.
    """

    _FILE_EXTENSIONS: list[str] | None = None

    def __init__(
        self,
        paths: Any,
        *,
        filesystem: Any = None,
        schema: Any = None,
        open_stream_args: dict[str, Any] | None = None,
        meta_provider: Any = None,
        partition_filter: Any = None,
        partitioning: Any = None,
        ignore_missing_paths: bool = False,
        shuffle: Any = None,
        include_paths: bool = False,
        file_extensions: list[str] | None = None,
    ):
        given = _paths.as_list(paths)
        self._local_only = all(path.startswith("local://") for path in given)
        if meta_provider is not None:
            filesystem, given = _paths.provided(
                meta_provider, given, filesystem, partitioning, ignore_missing_paths
            )
        system, found = _paths.expand(
            given,
            filesystem,
            file_extensions or self._FILE_EXTENSIONS,
            ignore_missing_paths,
            partitioning,
            partition_filter,
        )
        reader = _StreamReader(self)
        super().__init__(reader, system, shuffled_files(found, shuffle), include_paths, open_stream_args)

    def get_name(self) -> str:
        return type(self).__name__.removesuffix("Datasource")

    def _read_stream(self, f: Any, path: str) -> Iterator[Any]:
        """The blocks of an open file."""
        raise NotImplementedError(f"{type(self).__name__} must define _read_stream(f, path)")

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        return super().get_read_tasks(parallelism, per_task_row_limit)

    @property
    def supports_distributed_reads(self) -> bool:
        return not self._local_only

    def resolve_compression(self, path: str, open_args: dict[str, Any]) -> str | None:
        """How a file is compressed: as the arguments say, else as its name does; None when it is not."""
        given = open_args.get("compression", "detect")
        if given != "detect":
            return given
        try:
            return pa.Codec.detect(path).name
        except (ValueError, TypeError):  # Arrow says the one or the other of names that it does not know
            return None


class _StreamReader(files.Reader):
    """The reader that asks the source; it is made anew in each task's copy of the source."""

    def __init__(self, source: FileBasedDatasource):
        self.name = type(source).__name__.removesuffix("Datasource")
        self._source_class, self._state = type(source), source

    def __getstate__(self) -> dict[str, Any]:
        state = {k: v for k, v in vars(self._state).items() if k not in ("_reader", "_files")}
        return {"name": self.name, "_source_class": self._source_class, "_state": state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.name, self._source_class = state["name"], state["_source_class"]
        self._state = self._source_class.__new__(self._source_class)
        vars(self._state).update(state["_state"])

    def read(self, stream: Any, path: str) -> Iterator[Any]:
        return (blk.from_batch(block) for block in self._state._read_stream(stream, path))
