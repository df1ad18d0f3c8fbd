"""Writing datasets to files."""

from __future__ import annotations

from typing import Any

from narke.data._arguments import remote_arguments, unsupported
from narke.data.compute import TaskPoolStrategy
from narke.data.datasource import sinks
from narke.data.datasource.sinks import FileSink, SaveMode
from narke.data.plan import Map, Node
from narke.data.transforms import Step

_SHARED = """

    Args:
        path: folder, or URI of one; each block becomes a file in it.
        filesystem: pyarrow or fsspec filesystem; by default the one that the path names.
        try_create_dir: make the folder. mode: what to do when it is there already, see `SaveMode`.
        min_rows_per_file: put blocks together until a file has so many rows.
        concurrency: most writing tasks at once. ray_remote_args: what each holds.

    Raises:
        ValueError: mode ERROR, and the folder exists.
    """


class Writing:
    """The part of `Dataset` that writes files."""

    _plan: Node

    def _written(self, path: str, extension: str, writer: Any, options: dict[str, Any]) -> None:
        unsupported(
            options,
            ("filename_provider", "partition_cols", "catalog", "max_rows_per_file", "min_bytes_per_file"),
        )
        take = options.pop
        rows = take("min_rows_per_file", None) or take("num_rows_per_file", None)
        sink = FileSink(
            path,
            take("filesystem", None),
            extension,
            writer,
            take("mode", SaveMode.APPEND),
            take("try_create_dir", True),
            take("arrow_open_stream_args", None),
        )
        if sink.prepare():
            compute = TaskPoolStrategy(take("concurrency", None))
            remote_args = remote_arguments(take("ray_remote_args", None) or {})
            step = Step("stream", sink)
            plan = Map((self._plan,), (step,), compute, remote_args, min_rows=rows)
            for _ in self._bundles(plan):  # type: ignore[attr-defined]
                pass

    def write_parquet(self, path: str, *, arrow_parquet_args_fn: Any = None, **options: Any) -> None:
        """Write Parquet files; further arguments go to `pyarrow.parquet.write_table`."""
        self._write(path, "parquet", sinks.parquet_writer, arrow_parquet_args_fn, options)

    def write_csv(self, path: str, *, arrow_csv_args_fn: Any = None, **options: Any) -> None:
        """Write CSV files; further arguments go to `pyarrow.csv.write_csv`."""
        self._write(path, "csv", sinks.csv_writer, arrow_csv_args_fn, options)

    def write_json(self, path: str, *, pandas_json_args_fn: Any = None, **options: Any) -> None:
        """Write files of JSON lines; further arguments go to `pandas.DataFrame.to_json`."""
        self._write(path, "json", sinks.json_writer, pandas_json_args_fn, options)

    def write_numpy(self, path: str, *, column: str, **options: Any) -> None:
        """Write one column as .npy files."""
        own = _own_options(options)
        if options:
            raise TypeError(f"write_numpy() got unexpected arguments {sorted(options)}")
        self._written(path, "npy", sinks.numpy_writer(column), own)

    def _write(self, path: str, extension: str, writer: Any, args_fn: Any, options: dict[str, Any]) -> None:
        own = _own_options(options)
        self._written(path, extension, writer({**options, **(args_fn() if args_fn else {})}), own)


OPTIONS = (
    "arrow_open_stream_args", "catalog", "concurrency", "filename_provider", "filesystem", "max_rows_per_file",
    "min_bytes_per_file", "min_rows_per_file", "mode", "num_rows_per_file", "partition_cols", "ray_remote_args",
    "try_create_dir",
)  # fmt: skip


def _own_options(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of writing itself, taken out of those that go to the format."""
    return {name: options.pop(name) for name in OPTIONS if name in options}


for _writer in (Writing.write_parquet, Writing.write_csv, Writing.write_json, Writing.write_numpy):
    _writer.__doc__ = (_writer.__doc__ or "") + _SHARED
