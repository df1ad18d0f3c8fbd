"""Functions that make datasets of files."""

from __future__ import annotations

from typing import Any

import numpy as np

from narke.data._arguments import remote_arguments, unsupported
from narke.data.dataset import Dataset
from narke.data.datasource import files, paths
from narke.data.datasource.datasource import Datasource
from narke.data.datasource.parquet import ParquetSource
from narke.data.read_api import read_source

__all__ = [
    "read_binary_files",
    "read_csv",
    "read_images",
    "read_json",
    "read_numpy",
    "read_parquet",
    "read_text",
]

IMAGE_EXTENSIONS = ["png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif"]
JSON_EXTENSIONS = ["json", "jsonl", "json.gz", "jsonl.gz", "json.br", "jsonl.br", "json.zst", "jsonl.zst",
                   "json.lz4", "jsonl.lz4"]  # fmt: skip


class _FileOptions:
    """The arguments that all readers of files share; what is left over are the format's own."""

    def __init__(self, options: dict[str, Any], extensions: list[str] | None, partitioned: bool):
        take = options.pop
        self.filesystem = take("filesystem", None)
        self.parallelism, self.blocks = take("parallelism", -1), take("override_num_blocks", None)
        self.concurrency = take("concurrency", None)
        self.stream_args = take("arrow_open_stream_args", None) or take("arrow_open_file_args", None)
        self.include_paths = take("include_paths", False)
        self.ignore_missing = take("ignore_missing_paths", False)
        self.extensions = take("file_extensions", extensions)
        self.partitioned = partitioned if "partitioning" not in options else bool(take("partitioning"))
        self.shuffle = take("shuffle", None)
        unsupported(
            options, ("partition_filter", "tensor_column_schema", "catalog", "skip_paths", "include_row_hash")
        )
        given = take("ray_remote_args", None) or {}
        self.remote_args = remote_arguments({**given, **_remote_options(options)})

    def files(self, given: Any) -> tuple[Any, list[paths.File]]:
        """The files of the paths, in random order when asked."""
        system, found = paths.expand(
            paths.as_list(given), self.filesystem, self.extensions, self.ignore_missing, self.partitioned
        )
        if self.shuffle is not None:
            if self.shuffle != "files":
                raise ValueError(f"shuffle must be 'files' or None, not {self.shuffle!r}")
            found = [found[i] for i in np.random.default_rng().permutation(len(found))]
        return system, found

    def dataset(self, source: Datasource) -> Dataset:
        """The dataset of a source."""
        return read_source(source, self.parallelism, self.concurrency, self.blocks, self.remote_args)


REMOTE_OPTIONS = ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type", "runtime_env", "label_selector",
                  "fallback_strategy", "max_calls")  # fmt: skip


def _remote_options(options: dict[str, Any]) -> dict[str, Any]:
    return {name: options.pop(name) for name in REMOTE_OPTIONS if name in options}


def _read_files(given: Any, reader: files.Reader, chosen: _FileOptions) -> Dataset:
    system, found = chosen.files(given)
    return chosen.dataset(files.FileSource(reader, system, found, chosen.include_paths, chosen.stream_args))


def _no_more(options: dict[str, Any], function: str) -> None:
    if options:
        raise TypeError(f"{function}() got unexpected arguments {sorted(options)}")


_SHARED = """

    Args:
        paths: file, folder, URI, or list of them; folders are read with all that is in them.
        filesystem: pyarrow or fsspec filesystem; by default the one that the path names.
        include_paths: add column "path". ignore_missing_paths: leave out what does not exist.
        file_extensions: endings of the files to read. shuffle: "files" reads them in random order.
        partitioning: None takes folder names like ``year=2020`` for nothing but names.
        concurrency: most read tasks at once. override_num_blocks: number of read tasks.
        num_cpus and the like, ray_remote_args: resources of read tasks.

    Raises:
        FileNotFoundError: a path does not exist. ValueError: there are no files to read.
    """


def read_parquet(paths: Any, *, columns: list[str] | None = None, **options: Any) -> Dataset:
    """A dataset of Parquet files. `columns` are those to read; further arguments go to Arrow (such as `filter`)."""
    chosen = _FileOptions(options, ["parquet"], True)
    system, found = chosen.files(paths)
    return chosen.dataset(ParquetSource(system, found, columns, chosen.include_paths, options))


def read_csv(paths: Any, **options: Any) -> Dataset:
    """A dataset of CSV files; further arguments go to `pyarrow.csv.read_csv`."""
    chosen = _FileOptions(options, None, True)
    return _read_files(paths, files.CsvReader(options), chosen)


def read_json(paths: Any, *, lines: bool = False, **options: Any) -> Dataset:
    """A dataset of JSON lines, or of JSON arrays of objects; `lines` is found out by itself."""
    chosen = _FileOptions(options, JSON_EXTENSIONS, True)
    return _read_files(paths, files.JsonReader(options), chosen)


def read_text(
    paths: Any, *, encoding: str = "utf-8", drop_empty_lines: bool = True, **options: Any
) -> Dataset:
    """A dataset of lines in column "text"."""
    chosen = _FileOptions(options, None, False)
    _no_more(options, "read_text")
    return _read_files(paths, files.TextReader(encoding, drop_empty_lines), chosen)


def read_binary_files(paths: Any, **options: Any) -> Dataset:
    """A dataset of whole files in column "bytes"."""
    chosen = _FileOptions(options, None, False)
    _no_more(options, "read_binary_files")
    return _read_files(paths, files.BinaryReader(), chosen)


def read_numpy(paths: Any, *, allow_pickle: bool = False, **options: Any) -> Dataset:
    """A dataset of arrays saved by numpy, rows first, in column "data"."""
    chosen = _FileOptions(options, ["npy"], False)
    return _read_files(paths, files.NumpyReader({"allow_pickle": allow_pickle, **options}), chosen)


def read_images(
    paths: Any, *, size: tuple[int, int] | None = None, mode: str | None = None, **options: Any
) -> Dataset:
    """A dataset of images in column "image"; `size` is (height, width), `mode` Pillow's mode."""
    chosen = _FileOptions(options, IMAGE_EXTENSIONS, False)
    _no_more(options, "read_images")
    return _read_files(paths, files.ImageReader(size, mode), chosen)


for _reader in (read_parquet, read_csv, read_json, read_text, read_binary_files, read_numpy, read_images):
    _reader.__doc__ = (_reader.__doc__ or "") + _SHARED
