"""Sinks that are tables: SQL, MongoDB, ClickHouse, Delta Lake, Lance, Iceberg.

Those with commits of their own (Delta, Lance, Iceberg) get one commit for the whole write, from the driver: what was
written and not committed is no part of the table, so a task that ran twice does no harm. SQL gets a transaction a
task; a worker that dies after its commit and before its answer makes the task run again, which only a key in the table
can tell.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from narke.data import blocks as blk
from narke.data import columns
from narke.data.blocks import Block
from narke.data.datasource.datasink import Datasink, TaskContext, WriteResult
from narke.data.datasource.media import needed

INSERT_ROWS = 1024


class SqlSink(Datasink[None]):
    """An INSERT statement through the DB-API, one transaction a task."""

    def __init__(self, sql: str, connection_factory: Callable[[], Any]):
        self._sql, self._connect = sql, connection_factory

    def get_name(self) -> str:
        return "SQL"

    def _statement(self, block: Block) -> str:
        """What inserts the rows of a block."""
        return self._sql

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> None:
        connection = self._connect()
        try:
            cursor = connection.cursor()
            for block in blocks:
                statement = self._statement(block)
                for start in range(0, block.num_rows, INSERT_ROWS):
                    rows = blk.iter_rows(block.slice(start, INSERT_ROWS))
                    cursor.executemany(statement, [tuple(row.values()) for row in rows])
            connection.commit()
        except Exception:
            connection.rollback()
            raise
        finally:
            connection.close()


class MongoSink(Datasink[None]):
    """A MongoDB collection, through pymongo."""

    def __init__(self, uri: str, database: str, collection: str):
        self._uri, self._database, self._collection = uri, database, collection

    def get_name(self) -> str:
        return "Mongo"

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> None:
        pymongo = needed("pymongo", "pymongo", "writing to MongoDB")
        with pymongo.MongoClient(self._uri) as client:
            target = client[self._database][self._collection]
            for block in blocks:
                target.insert_many(list(blk.iter_rows(block)))


class SnowflakeSink(SqlSink):
    """A table of Snowflake, through its connector; a transaction a task."""

    def __init__(self, table: str, connect: Callable[[], Any]):
        super().__init__(f"INSERT INTO {table}", connect)

    def get_name(self) -> str:
        return "Snowflake"

    def _statement(self, block: Block) -> str:
        places = ", ".join(["%s"] * block.num_columns)
        return f"{self._sql} ({', '.join(block.column_names)}) VALUES ({places})"


class SinkMode(enum.Enum):
    """What to do about a table: make it, add to it, or make it anew."""

    CREATE = 1
    APPEND = 2
    OVERWRITE = 3


@dataclasses.dataclass
class ClickHouseTableSettings:
    """How a table is made: engine and, as SQL, order, partitions, primary key and further settings."""

    engine: str = "MergeTree()"
    order_by: str | None = None
    partition_by: str | None = None
    primary_key: str | None = None
    settings: str | None = None


_CLICKHOUSE_TYPES = (
    (pa.types.is_boolean, "Bool"),
    (pa.types.is_int8, "Int8"),
    (pa.types.is_int16, "Int16"),
    (pa.types.is_int32, "Int32"),
    (pa.types.is_int64, "Int64"),
    (pa.types.is_uint8, "UInt8"),
    (pa.types.is_uint16, "UInt16"),
    (pa.types.is_uint32, "UInt32"),
    (pa.types.is_uint64, "UInt64"),
    (pa.types.is_float32, "Float32"),
    (pa.types.is_floating, "Float64"),
    (pa.types.is_date, "Date32"),
    (pa.types.is_timestamp, "DateTime64(6)"),
)


def clickhouse_table(name: str, schema: pa.Schema, settings: ClickHouseTableSettings) -> str:
    """The statement that makes a table for rows of a schema."""

    def kind(field: pa.Field) -> str:
        plain = next((text for check, text in _CLICKHOUSE_TYPES if check(field.type)), "String")
        return (
            f"Nullable({plain})"
            if field.nullable and field.name not in (settings.order_by or "tuple()")
            else plain
        )

    columns_sql = ", ".join(f"`{field.name}` {kind(field)}" for field in schema)
    parts = [f"CREATE TABLE IF NOT EXISTS {name} ({columns_sql}) ENGINE = {settings.engine}"]
    for word, value in (("PARTITION BY", settings.partition_by), ("PRIMARY KEY", settings.primary_key)):
        parts.extend([f"{word} {value}"] if value else [])
    parts.append(f"ORDER BY {settings.order_by or 'tuple()'}")
    return " ".join([*parts, *([f"SETTINGS {settings.settings}"] if settings.settings else [])])


class ClickHouseSink(Datasink[None]):
    """A ClickHouse table, through clickhouse-connect.

    Args:
        table, dsn: where to. settings, options: the client's. rows: most of an insert.
        mode: see `SinkMode`. schema: Arrow schema of a table to make. table_settings: how to make it.
    """

    def __init__(
        self,
        table: str,
        dsn: str,
        settings: Any,
        options: Any,
        rows: int | None,
        mode: SinkMode = SinkMode.APPEND,
        schema: pa.Schema | None = None,
        table_settings: ClickHouseTableSettings | None = None,
    ):
        self._table, self._dsn, self._rows = table, dsn, rows
        self._settings, self._options = dict(settings or {}), dict(options or {})
        self._mode, self._schema = mode, schema
        self._table_settings = table_settings or ClickHouseTableSettings()

    def get_name(self) -> str:
        return "ClickHouse"

    @contextlib.contextmanager
    def _client(self) -> Iterator[Any]:
        driver = needed("clickhouse_connect", "clickhouse-connect", "writing to ClickHouse")
        client = driver.get_client(dsn=self._dsn, settings=self._settings, **self._options)
        try:
            yield client
        finally:
            client.close()

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        """Make the table, where the mode says so.

        Raises:
            ValueError: it is to be made, and is there, or nobody knows its schema.
        """
        if self._mode is SinkMode.APPEND:
            return
        wanted = self._schema or schema
        if wanted is None:
            raise ValueError(f"write_clickhouse: nothing is known of the rows of {self._table}; give schema")
        with self._client() as client:
            there = bool(int(client.command(f"EXISTS TABLE {self._table}")))
            if there and self._mode is SinkMode.CREATE:
                raise ValueError(
                    f"{self._table} exists already; choose another name, or mode APPEND or OVERWRITE"
                )
            if there:
                client.command(f"DROP TABLE {self._table}")
            client.command(clickhouse_table(self._table, wanted, self._table_settings))

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> None:
        with self._client() as client:
            for block in blocks:
                step = self._rows or block.num_rows
                for start in range(0, block.num_rows, step):
                    client.insert_arrow(self._table, block.slice(start, step))


class LanceSink(Datasink[Any]):
    """A Lance dataset: tasks write fragments, the driver commits them."""

    def __init__(
        self, path: str, schema: Any, mode: str, least: int, most: int, version: str | None, storage: Any
    ):
        if mode not in ("create", "append", "overwrite"):
            raise ValueError(f"mode must be 'create', 'append' or 'overwrite', not {mode!r}")
        self._path, self._schema, self._mode = path, schema, mode
        self._least, self._most, self._version, self._storage = least, most, version, storage

    def get_name(self) -> str:
        return "Lance"

    @property
    def min_rows_per_write(self) -> int | None:
        return self._least

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> Any:
        fragment = needed("lance.fragment", "pylance", "writing Lance")
        table = blk.concat(list(blocks))
        if not table.num_rows:
            return None
        columns.refuse_objects(table.schema, "write_lance")
        made = fragment.write_fragments(
            table,
            self._path,
            schema=self._schema or table.schema,
            max_rows_per_file=self._most,
            data_storage_version=self._version,
            storage_options=self._storage,
        )
        return [part.to_json() for part in made], table.schema.serialize().to_pybytes()

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        lance = needed("lance", "pylance", "writing Lance")
        import json

        done = [r for r in write_result.write_returns if r]
        if not done:
            return
        parts = [
            lance.fragment.FragmentMetadata.from_json(json.dumps(p) if isinstance(p, dict) else p)
            for parts, _ in done
            for p in parts
        ]
        schema = self._schema or pa.ipc.read_schema(pa.py_buffer(done[0][1]))
        version = None
        if self._mode == "append":
            operation = lance.LanceOperation.Append(parts)
            version = lance.dataset(self._path, storage_options=self._storage).version
        else:
            operation = lance.LanceOperation.Overwrite(schema, parts)
        lance.LanceDataset.commit(self._path, operation, read_version=version, storage_options=self._storage)


DELTA_MODES = {
    "append": "append",
    "overwrite": "overwrite",
    "ignore": "ignore",
    "error": "error",
    "create": "error",
}
_DELTA_NAMES = {"partition_cols": "partition_by"}


def write_delta(blocks: Iterable[Block], path: str, mode: Any, options: dict[str, Any]) -> None:
    """Write blocks as they come to a Delta Lake table, in one commit.

    Args:
        mode: `SaveMode` or its name. options: of `deltalake.write_deltalake`; `partition_cols` is its `partition_by`.
    """
    deltalake = needed("deltalake", "deltalake", "writing Delta Lake")
    name = str(getattr(mode, "value", mode)).lower()
    if name not in DELTA_MODES:
        raise ValueError(f"write_delta: mode must be one of {sorted(DELTA_MODES)}, not {mode!r}")
    given = {_DELTA_NAMES.get(k, k): v for k, v in options.items() if v is not None}
    stream = iter(blocks)
    first = next(stream, None)
    if first is not None:
        columns.refuse_objects(first.schema, "write_delta")
        rest = itertools.chain([first], stream)
        batches = (batch for block in rest for batch in block.cast(first.schema).to_batches())
        reader = pa.RecordBatchReader.from_batches(first.schema, batches)
        deltalake.write_deltalake(path, reader, mode=DELTA_MODES[name], **given)


def write_iceberg(
    blocks: Iterable[Block],
    identifier: str,
    catalog: dict[str, Any],
    mode: Any,
    properties: dict[str, str],
    overwrite: dict[str, Any] | None = None,
    upsert: dict[str, Any] | None = None,
) -> None:
    """Write blocks as they come to an Iceberg table that exists, in one commit.

    Args:
        identifier: "namespace.table". catalog: of `pyiceberg.catalog.load_catalog`. properties: kept with the commit.
        mode: "append", "overwrite", or "upsert", which holds all rows in memory.
        overwrite: of the deletion before (`delete_filter`: which rows, all by default). upsert: of `Table.upsert`.
    """
    name = str(getattr(mode, "value", mode)).lower()
    if name not in ("append", "overwrite", "upsert"):
        raise ValueError(f"write_iceberg: mode must be 'append', 'overwrite' or 'upsert', not {mode!r}")
    loaded = needed("pyiceberg.catalog", "pyiceberg", "writing Iceberg").load_catalog(**catalog)
    table = loaded.load_table(identifier)
    if name == "upsert":
        whole = blk.concat(list(blocks))
        columns.refuse_objects(whole.schema, "write_iceberg")
        table.upsert(whole, **(upsert or {}))
        return
    with table.transaction() as transaction:
        if name == "overwrite":
            transaction.delete(
                **{"delete_filter": "true", "snapshot_properties": properties, **(overwrite or {})}
            )
        for block in blocks:
            columns.refuse_objects(block.schema, "write_iceberg")
            transaction.append(block, snapshot_properties=properties)
