"""Sinks that are tables: SQL, MongoDB, ClickHouse, Delta Lake, Lance, Iceberg.

Those with commits of their own (Delta, Lance, Iceberg) get one commit for the whole write, from the driver: what was
written and not committed is no part of the table, so a task that ran twice does no harm. SQL gets a transaction a
task; a worker that dies after its commit and before its answer makes the task run again, which only a key in the table
can tell.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
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

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> None:
        connection = self._connect()
        try:
            cursor = connection.cursor()
            for block in blocks:
                for start in range(0, block.num_rows, INSERT_ROWS):
                    rows = blk.iter_rows(block.slice(start, INSERT_ROWS))
                    cursor.executemany(self._sql, [tuple(row.values()) for row in rows])
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


class ClickHouseSink(Datasink[None]):
    """A ClickHouse table, through clickhouse-connect."""

    def __init__(self, table: str, dsn: str, settings: Any, options: Any, rows: int | None):
        self._table, self._dsn, self._rows = table, dsn, rows
        self._settings, self._options = dict(settings or {}), dict(options or {})

    def get_name(self) -> str:
        return "ClickHouse"

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> None:
        driver = needed("clickhouse_connect", "clickhouse-connect", "writing to ClickHouse")
        client = driver.get_client(dsn=self._dsn, settings=self._settings, **self._options)
        try:
            for block in blocks:
                step = self._rows or block.num_rows
                for start in range(0, block.num_rows, step):
                    client.insert_arrow(self._table, block.slice(start, step))
        finally:
            client.close()


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
    blocks: Iterable[Block], identifier: str, catalog: dict[str, Any], mode: Any, properties: dict[str, str]
) -> None:
    """Write blocks as they come to an Iceberg table that exists, in one commit.

    Args:
        identifier: "namespace.table". catalog: of `pyiceberg.catalog.load_catalog`. mode: "append" or "overwrite".
        properties: kept with the commit.
    """
    name = str(getattr(mode, "value", mode)).lower()
    if name not in ("append", "overwrite"):
        raise ValueError(f"write_iceberg: mode must be 'append' or 'overwrite', not {mode!r}")
    loaded = needed("pyiceberg.catalog", "pyiceberg", "writing Iceberg").load_catalog(**catalog)
    with loaded.load_table(identifier).transaction() as transaction:
        if name == "overwrite":
            transaction.delete("true", snapshot_properties=properties)
        for block in blocks:
            columns.refuse_objects(block.schema, "write_iceberg")
            transaction.append(block, snapshot_properties=properties)
