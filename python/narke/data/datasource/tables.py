"""Sources that are tables: SQL, MongoDB, ClickHouse, Delta Lake, Lance, Iceberg, and iterables of Python's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from narke.data import blocks as blk
from narke.data.block import BlockMetadata
from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.media import needed

ROWS = 8192


Reads = list[tuple[Callable[[], Iterable[Any]], "int | None", "int | None"]]


class TaskSource(Datasource):
    """A source whose read functions are known: one task each.

    Args:
        name: in plans. reads: (function that gives blocks, rows or None, bytes or None) for each task.
    """

    def __init__(self, name: str, reads: Reads):
        self._name, self._reads = name, reads

    def get_name(self) -> str:
        return self._name

    def estimate_inmemory_data_size(self) -> int | None:
        sizes = [size for _, _, size in self._reads]
        return None if None in sizes else sum(s for s in sizes if s is not None)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        return [
            ReadTask(read, BlockMetadata(rows, size), per_task_row_limit=per_task_row_limit)
            for read, rows, size in self._reads
        ]


def rows_of(cursor: Any) -> Iterator[pa.Table]:
    """The rows of a DB-API cursor that has run a query."""
    names = [column[0] for column in cursor.description]
    found = False
    while rows := cursor.fetchmany(ROWS):
        found = True
        yield blk.from_rows([dict(zip(names, row, strict=True)) for row in rows])
    if not found:
        yield pa.table({name: pa.nulls(0) for name in names})


class SqlSource(Datasource):
    """A query through Python's DB-API; with `keys` it is divided among tasks by a hash of them.

    Args:
        sql: the query, with params. connect: makes a connection. keys: columns. hash_function: of the database.
    """

    def __init__(self, sql: str, connect: Callable[[], Any], params: Any, keys: Any, hash_function: str):
        self._sql, self._connect, self._params = sql, connect, params
        self._keys, self._hash = list(keys or []), hash_function

    def get_name(self) -> str:
        return "SQL"

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        count = parallelism if self._keys else 1
        unknown = BlockMetadata(None, None)
        return [
            ReadTask(self._read(self._part(i, count)), unknown, per_task_row_limit=per_task_row_limit)
            for i in range(count)
        ]

    def _part(self, index: int, count: int) -> str:
        if count == 1:
            return self._sql
        keys = f"CONCAT({','.join(self._keys)})" if len(self._keys) > 1 else self._keys[0]
        return f"SELECT * FROM ({self._sql}) AS T WHERE MOD(ABS({self._hash}({keys})), {count}) = {index}"

    def _read(self, sql: str) -> Callable[[], Iterator[pa.Table]]:
        connect, params = self._connect, self._params

        def read() -> Iterator[pa.Table]:
            connection = connect()
            try:
                cursor = connection.cursor()
                cursor.execute(sql, *(() if params is None else (params,)))
                yield from rows_of(cursor)
            finally:
                connection.close()

        return read


class SnowflakeConnection:
    """Makes connections to Snowflake; may be sent to tasks."""

    def __init__(self, parameters: dict[str, Any]):
        self._parameters = dict(parameters)

    def __call__(self) -> Any:
        driver = needed("snowflake.connector", "snowflake-connector-python", "Snowflake")
        return driver.connect(**self._parameters)


def mongo_source(
    uri: str, database: str, collection: str, pipeline: Any, options: dict[str, Any]
) -> Datasource:
    """A MongoDB collection, or what an aggregation pipeline makes of it, in one task."""

    def read() -> Iterator[pa.Table]:
        pymongo = needed("pymongo", "pymongo", "reading MongoDB")
        with pymongo.MongoClient(uri, **options) as client:
            found = client[database][collection].aggregate(list(pipeline or []))
            held: list[dict[str, Any]] = []
            for document in found:
                held.append({k: str(v) if k == "_id" else v for k, v in document.items()})
                if len(held) == ROWS:
                    yield blk.from_rows(held)
                    held = []
            yield blk.from_rows(held)

    return TaskSource("Mongo", [(read, None, None)])


def clickhouse_source(query: str, dsn: str, settings: Any, options: Any) -> Datasource:
    """A ClickHouse query, in one task, streamed as Arrow batches."""

    def read() -> Iterator[pa.Table]:
        driver = needed("clickhouse_connect", "clickhouse-connect", "reading ClickHouse")
        client = driver.get_client(dsn=dsn, settings=dict(settings or {}), **dict(options or {}))
        try:
            with client.query_arrow_stream(query) as batches:
                yield from (blk.from_batch(batch) for batch in batches)
        finally:
            client.close()

    return TaskSource("ClickHouse", [(read, None, None)])


def lance_source(
    uri: str, version: Any, names: Any, predicate: Any, storage: Any, scanner: dict[str, Any]
) -> Datasource:
    """A Lance dataset, a task a fragment."""
    lance = needed("lance", "pylance", "reading Lance")
    found = lance.dataset(uri, version=version, storage_options=storage)
    options = {"columns": names, "filter": predicate, **scanner}

    def reader(fragment: int, at: int) -> Callable[[], Iterator[pa.Table]]:
        def read() -> Iterator[pa.Table]:
            own = needed("lance", "pylance", "reading Lance").dataset(
                uri, version=at, storage_options=storage
            )
            scan = own.scanner(fragments=[own.get_fragment(fragment)], **options)
            yield scan.projected_schema.empty_table()
            yield from (pa.Table.from_batches([batch]) for batch in scan.to_batches())

        return read

    fragments = found.get_fragments()
    reads = [(reader(f.fragment_id, found.version), None, None) for f in fragments]
    return TaskSource("Lance", list(reads))


def delta_files(path: str, version: Any, storage: Any) -> tuple[list[str], list[dict[str, Any]], pa.Schema]:
    """The Parquet files of a Delta Lake table at a version, the partition values of each, and its schema."""
    deltalake = needed("deltalake", "deltalake", "reading Delta Lake")
    table = deltalake.DeltaTable(path, version=version, storage_options=storage)
    keys = table.metadata().partition_columns
    actions = pa.table(table.get_add_actions(flatten=True)).to_pylist()
    values = [{key: action.get(f"partition.{key}") for key in keys} for action in actions]
    schema = pa.schema(table.schema().to_arrow())
    return [action["path"] for action in actions], values, schema


def iceberg_source(
    identifier: str, predicate: Any, fields: Any, snapshot: Any, scan_args: Any, catalog: dict[str, Any]
) -> Datasource:
    """An Iceberg table, a task a data file."""
    load = needed("pyiceberg.catalog", "pyiceberg", "reading Iceberg").load_catalog
    scan = _iceberg_scan(load(**catalog), identifier, predicate, fields, snapshot, scan_args)
    sizes = [(task.file.record_count, task.file.file_size_in_bytes) for task in scan.plan_files()]

    def reader(place: int) -> Callable[[], Iterator[pa.Table]]:
        def read() -> Iterator[pa.Table]:
            from pyiceberg.io.pyarrow import ArrowScan

            own = _iceberg_scan(load(**catalog), identifier, predicate, fields, snapshot, scan_args)
            scanner = ArrowScan(own.table_metadata, own.io, own.projection(), own.row_filter)
            yield scanner.to_table([list(own.plan_files())[place]])

        return read

    return TaskSource("Iceberg", [(reader(i), *size) for i, size in enumerate(sizes)])


def _iceberg_scan(
    catalog: Any, identifier: str, predicate: Any, fields: Any, snapshot: Any, more: Any
) -> Any:
    given = {} if predicate is None else {"row_filter": predicate}
    table = catalog.load_table(identifier)
    return table.scan(selected_fields=tuple(fields), snapshot_id=snapshot, **given, **dict(more or {}))


# names of options before hudi 0.5, and since
_HUDI_RENAMED = {
    "hoodie.read.file_group.start_timestamp": "hoodie.read.start.timestamp",
    "hoodie.read.file_group.end_timestamp": "hoodie.read.end.timestamp",
}


def hudi_source(
    uri: str, query: str, filters: Any, options: dict[str, str], storage: dict[str, str]
) -> Datasource:
    """A Hudi table, a task a file slice.

    Args:
        query: "snapshot" or "incremental". filters: (column, operator, value) triples. options: Hudi's, of the read.
        storage: options of the table's storage.
    """
    hudi = needed("hudi", "hudi", "reading Hudi")
    given = {_HUDI_RENAMED.get(name, name): value for name, value in options.items()}
    asked = {**given, hudi.HudiReadConfig.QUERY_TYPE.value: query}
    chosen = [(column, sign, str(value)) for column, sign, value in filters or []]
    table = hudi.HudiTable(uri, dict(storage))

    def reader(base: str, logs: list[str]) -> Callable[[], Iterator[pa.Table]]:
        def read() -> Iterator[pa.Table]:
            import hudi

            how = hudi.HudiReadOptions(filters=chosen, hudi_options=asked)
            own = hudi.HudiTable(uri, dict(storage)).create_file_group_reader_with_options(how)
            for batch in own.read_file_slice_from_paths_stream(base, logs, how):
                yield pa.Table.from_batches([batch])

        return read

    how = hudi.HudiReadOptions(filters=chosen, hudi_options=asked)
    reads: Reads = [
        (
            reader(part.base_file_relative_path(), part.log_files_relative_paths()),
            None,
            part.base_file_byte_size,
        )
        for part in table.get_file_slices(how)
    ]
    schema = table.get_schema_with_meta_fields()
    return TaskSource("Hudi", reads or [(lambda: iter([schema.empty_table()]), 0, 0)])


def iterable_source(name: str, make: Callable[[], Iterable[Any]]) -> Datasource:
    """What an iterable gives, in column "item" (dicts: their keys), in one task."""

    def read() -> Iterator[pa.Table]:
        held: list[dict[str, Any]] = []
        for value in make():
            held.append(value if isinstance(value, dict) else {blk.ITEM: value})
            if len(held) == ROWS:
                yield blk.from_rows(held)
                held = []
        if held:
            yield blk.from_rows(held)

    return TaskSource(name, [(read, None, None)])
