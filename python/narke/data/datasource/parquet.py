"""Parquet files, split by row groups; columns and rows are chosen while reading."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from narke.data import columns
from narke.data.block import BlockMetadata
from narke.data.context import DataContext
from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.files import add_file_columns
from narke.data.datasource.paged import PagedColumn, is_paged
from narke.data.datasource.partitioning import constant
from narke.data.datasource.paths import File
from narke.data.datasource.retry import retried
from narke.data.lazy import LazyBlock
from narke.data.projection import Where

METADATA_THREADS = 8
LAZY_BYTES = 1024 * 1024  # row groups below this are read at once: opening a file costs more
GROUP_BYTES = 64 * 1024 * 1024  # row groups above this are read in parts


class Piece(NamedTuple):
    """A row group: its file's and its own number, rows, bytes when decoded."""

    file: int
    group: int
    rows: int
    size: int


class ParquetSource(Datasource):
    """Row groups of Parquet files.

    Args:
        system, files: what to read. names: columns to read; None for all. include_paths: add column "path".
        args: of Arrow's `Fragment.to_table`, such as `filter`.
    """

    exact_pushdown = True

    def __init__(
        self,
        system: fs.FileSystem,
        files: list[File],
        names: list[str] | None = None,
        include_paths: bool = False,
        args: dict[str, Any] | None = None,
    ):
        self._system, self._files, self._names = system, files, names
        self._include_paths, self._args = include_paths, dict(args or {})
        self._predicate: Any = None
        self._dictionaries: tuple[str, ...] = ()
        self._retried = tuple(DataContext.get_current().retried_io_errors)
        known = self._all_pieces()
        self._pieces = [piece for pieces, _ in known for piece in pieces]
        self._schema = known[0][1] if known else pa.schema([])

    def get_name(self) -> str:
        return "Parquet"

    def _all_pieces(self) -> list[tuple[list[Piece], pa.Schema]]:
        """Row groups and schema of each file. Threads are for what has to be waited for."""
        if isinstance(self._system, fs.LocalFileSystem) or len(self._files) < 2:
            return [self._pieces_of(index) for index in range(len(self._files))]
        with ThreadPoolExecutor(METADATA_THREADS) as pool:
            return list(pool.map(self._pieces_of, range(len(self._files))))

    def _pieces_of(self, index: int) -> tuple[list[Piece], pa.Schema]:
        path = self._files[index].path
        with named(path), self._opened(path) as stream:
            found = pq.ParquetFile(stream)
            schema, about = found.schema_arrow, found.metadata
            columns.refuse_objects(schema, path)
            groups = [about.row_group(i) for i in range(about.num_row_groups)]
            pieces = [Piece(index, i, g.num_rows, g.total_byte_size) for i, g in enumerate(groups)]
            return pieces, schema

    def _opened(self, path: str) -> Any:
        return retried(lambda: self._system.open_input_file(path), self._retried)

    def estimate_inmemory_data_size(self) -> int:
        return sum(piece.size for piece in self._pieces)

    def known_rows(self) -> int | None:
        filtered = self._predicate is not None or "filter" in self._args
        return None if filtered else sum(piece.rows for piece in self._pieces)

    def known_schema(self) -> Any:
        if self._include_paths or self._args or any(file.partition for file in self._files):
            return None
        names = self._schema.names if self._names is None else self._names
        return pa.schema([self._schema.field(name) for name in names if name in self._schema.names])

    def with_columns(self, names: list[str]) -> Datasource | None:
        plain = set(self._schema.names) if self._names is None else set(self._names)
        if self._include_paths or not set(names) <= plain:
            return None
        other = copy.copy(self)
        other._names = list(names)
        return other

    def with_dictionaries(self, names: list[str]) -> Datasource | None:
        texts = {f.name for f in self._schema if pa.types.is_string(f.type)}
        if self._args or not texts & set(names):
            return None
        other = copy.copy(self)
        other._dictionaries = tuple(name for name in names if name in texts)
        return other

    def with_predicate(self, predicate: Any) -> Datasource | None:
        if not predicate.columns <= set(self._schema.names if self._names is None else self._names):
            return None
        other = copy.copy(self)
        other._predicate = predicate if self._predicate is None else self._predicate & predicate
        return other

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        if not self._pieces:
            return [self._task([Piece(0, -1, 0, 0)], per_task_row_limit)] if self._files else []
        total, count = sum(p.size for p in self._pieces), max(1, parallelism)
        shares: list[list[Piece]] = [[]]
        done = 0
        for piece in self._pieces:
            if shares[-1] and done + piece.size / 2 > total * len(shares) / count:
                shares.append([])
            shares[-1].append(piece)
            done += piece.size
        return [self._task(share, per_task_row_limit) for share in shares]

    def _task(self, pieces: list[Piece], limit: int | None) -> ReadTask:
        files = [
            (self._files[i], [p.group for p in pieces if p.file == i and p.group >= 0])
            for i in dict.fromkeys(p.file for p in pieces)
        ]
        how = (self._predicate, self._include_paths, self._args, self._dictionaries)
        read = ParquetRead(self._system, files, self._names, *how)
        rows = sum(p.rows for p in pieces)
        return ReadTask(
            read,
            BlockMetadata(rows, sum(p.size for p in pieces), input_files=tuple(f.path for f, _ in files)),
            per_task_row_limit=limit,
        )


@dataclasses.dataclass
class ParquetRead:
    """Reads some row groups of some files, one after another."""

    system: fs.FileSystem
    files: list[tuple[File, list[int]]]
    names: list[str] | None
    predicate: Any
    include_paths: bool
    args: dict[str, Any]
    dictionaries: tuple[str, ...] = ()

    def __call__(self) -> Iterator[Any]:
        for file, groups in self.files:
            with named(file.path):
                yield from self._of_file(file, groups)

    def _of_file(self, file: File, groups: list[int]) -> Iterator[Any]:
        if self.args:
            yield from self._by_fragments(file, groups)
            return
        with self.system.open_input_file(file.path) as stream:
            found = pq.ParquetFile(stream, read_dictionary=list(self.dictionaries))
            columns.refuse_objects(found.schema_arrow, file.path)
            for group in self._promising(found, file, groups):
                for block in self._of_group(found, group, file):
                    yield self._chosen(self._kept(block))
            if not found.metadata.num_row_groups:
                yield self._chosen(self._finished(found.schema_arrow.empty_table(), file))

    def _promising(self, found: Any, file: File, groups: list[int]) -> list[int]:
        """The row groups that may have rows that are wanted, by their statistics; one at least, for its columns."""
        given = groups or list(range(found.metadata.num_row_groups))
        if self.predicate is None or not given:
            return given
        import pyarrow.dataset as pds

        whole = pds.ParquetFileFormat().make_fragment(file.path, self.system)
        left = {group.id for group in whole.subset(self.predicate.to_pyarrow()).row_groups}
        return [group for group in given if group in left] or given[:1]

    def _kept(self, block: Any) -> Any:
        return block if self.predicate is None else Where(self.predicate)(block)

    def _of_group(self, found: Any, group: int, file: File) -> Iterator[Any]:
        about, own = found.metadata.row_group(group), self._own_columns(found.schema_arrow, file)
        if about.total_byte_size > GROUP_BYTES:
            rows = max(1, int(about.num_rows * GROUP_BYTES / about.total_byte_size))
            for batch in found.iter_batches(rows, row_groups=[group], columns=own, use_threads=False):
                yield self._finished(pa.Table.from_batches([batch]), file)
        elif own == [] or not self._can_be_lazy(found.schema_arrow, about):
            yield self._finished(found.read_row_group(group, columns=own, use_threads=False), file)
        else:
            yield self._lazily(found, group, about, file)

    def _can_be_lazy(self, schema: pa.Schema, about: Any) -> bool:
        """Whether columns may be read one by one: cheap on local disks only, and by names without dots."""
        local = isinstance(self.system, fs.LocalFileSystem)
        return local and about.total_byte_size >= LAZY_BYTES and not _has_dots(schema)

    def _lazily(self, found: Any, group: int, about: Any, file: File) -> LazyBlock:
        """The row group, of which each column is read when it is looked at."""
        schema, opened = (
            found.schema_arrow,
            _Opened(self.system, file.path, found.metadata, self.dictionaries),
        )
        places = {about.column(i).path_in_schema: i for i in range(about.num_columns)}
        parts: dict[str, Any] = {}
        for name in self._own_columns(schema, file) or schema.names:
            parts[name] = functools.partial(opened.column, group, name)
            if name in places and name in schema.names:
                own, kind = found.schema.column(places[name]), schema.field(name).type
                if is_paged(about.column(places[name]), own, kind):
                    parts[name] = opened.paged(about.column(places[name]), kind, own, parts[name])
        for key, value in file.partition:
            parts.setdefault(key, functools.partial(constant, value, about.num_rows))
        if self.include_paths:
            parts["path"] = functools.partial(constant, file.path, about.num_rows)
        types = dict(zip(schema.names, schema.types, strict=True))
        return LazyBlock(about.num_rows, parts, about.total_byte_size, types)

    def _by_fragments(self, file: File, groups: list[int]) -> Iterator[pa.Table]:
        """Through Arrow's data sets, which skip row groups by their statistics."""
        import pyarrow.dataset as pds

        args = {"use_threads": False, **self.args}
        form = pds.ParquetFileFormat(read_options={"dictionary_columns": set(self.dictionaries)})
        whole = form.make_fragment(file.path, self.system)
        columns.refuse_objects(whole.physical_schema, file.path)
        own = self._own_columns(whole.physical_schema, file)
        for part in [whole.subset(row_group_ids=[group]) for group in groups] or [whole]:
            yield self._chosen(self._kept(self._finished(part.to_table(columns=own, **args), file)))

    def _finished(self, table: pa.Table, file: File) -> pa.Table:
        return add_file_columns(table.replace_schema_metadata(), file, self.include_paths)

    def _own_columns(self, schema: pa.Schema, file: File) -> list[str] | None:
        """Columns to read from the file itself, those that rows are chosen by among them; None for all."""
        if self.names is None:
            return None
        given = {key for key, _ in file.partition}
        chosen_by = set() if self.predicate is None else set(self.predicate.columns)
        names = [*self.names, *sorted(chosen_by - set(self.names))]
        return [name for name in names if name in schema.names or name not in given]

    def _chosen(self, block: Any) -> Any:
        if self.names is None:
            return block
        return block.select([*self.names, *(["path"] if self.include_paths else [])])


class _Opened:
    """A file that is opened by the first column that is read of it, and closed when nobody can ask for another."""

    def __init__(self, system: fs.FileSystem, path: str, metadata: Any, texts: tuple[str, ...]):
        self._system, self._path, self._metadata, self._texts = system, path, metadata, list(texts)

    @functools.cached_property
    def _stream(self) -> Any:
        return self._system.open_input_file(self._path)

    @functools.cached_property
    def _file(self) -> pq.ParquetFile:
        return pq.ParquetFile(self._stream, metadata=self._metadata, read_dictionary=self._texts)

    def column(self, group: int, name: str) -> Any:
        """A column of a row group, by Arrow."""
        with named(self._path):
            return self._file.read_row_group(group, columns=[name], use_threads=False).column(name)

    def paged(self, about: Any, kind: pa.DataType, own: Any, otherwise: Any) -> PagedColumn:
        """A column of a row group whose pages are read here where they can be."""
        return PagedColumn(about, kind, own.max_definition_level > 0, self._read_at, otherwise)

    def _read_at(self, size: int, place: int) -> pa.Buffer:
        with named(self._path):
            self._stream.seek(place)
            return self._stream.read_buffer(size)


@contextlib.contextmanager
def named(path: str) -> Iterator[None]:
    """Errors of Arrow inside say which file they are about.

    Raises:
        ValueError: the file is damaged or no Parquet file. FileNotFoundError: it is gone.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path} cannot be read as a Parquet file: {error}") from error


def _has_dots(schema: pa.Schema) -> bool:
    """Whether a name has dots, which Parquet takes for a path into nested columns."""
    return any("." in name for name in schema.names)
