"""Writing datasets: to files, to tables, and to places of the user's own."""

from __future__ import annotations

import uuid
from typing import Any

import narke
from narke.data._arguments import remote_arguments, unsupported
from narke.data.catalog import CatalogAccessMode, ReaderFormat, resolved
from narke.data.checkpoint.resume import CheckpointSink, resumed
from narke.data.compute import TaskPoolStrategy
from narke.data.datasource import sinks, table_sinks
from narke.data.datasource.datasink import Datasink, SinkStep, summed
from narke.data.datasource.file_datasink import FunctionSink, ImageSink, SaveMode, _FileDatasink
from narke.data.display import known_schema
from narke.data.iterator import fetched
from narke.data.plan import Map, Node
from narke.data.transforms import Step

_SHARED = """

    Args:
        path: folder, or URI of one; each block becomes a file in it.
        filesystem: pyarrow or fsspec filesystem; by default the one that the path names.
        try_create_dir: make the folder. mode: what to do when it is there already, see `SaveMode`.
        partition_cols: columns that become folders such as ``year=2020``.
        min_rows_per_file, min_bytes_per_file: put blocks together until a file has so many rows, or so many bytes in
            memory. max_rows_per_file: cut them.
        filename_provider: names the files. concurrency: most writing tasks at once.
        ray_remote_args: what each holds.

    Raises:
        ValueError: mode ERROR, and the folder exists.
    """


class Writing:
    """The part of `Dataset` that writes it."""

    _plan: Node

    def write_datasink(
        self,
        datasink: Datasink[Any],
        *,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write to a place of the user's own.

        Args:
            datasink: the place. ray_remote_args: resources of the writing tasks. concurrency: most of them at once.

        Raises:
            whatever the sink raises, after its `on_write_failed`.
        """
        if not narke.is_initialized():
            narke.init()
        config = self._context.checkpoint_config  # type: ignore[attr-defined]
        source = self._plan
        if config is not None:
            source = resumed(source, config, datasink, self._context)  # type: ignore[attr-defined]
            datasink = CheckpointSink(datasink, config)
        plan = Map(
            (source,),
            (Step("stream", SinkStep(datasink, uuid.uuid4().hex), once=True),),
            TaskPoolStrategy(concurrency),
            remote_arguments(ray_remote_args or {}),
            min_rows=datasink.min_rows_per_write,
            min_bytes=datasink.min_bytes_per_write,
        )
        datasink.on_write_start(known_schema(self._plan))
        try:
            result = summed(fetched(self._bundles(plan)))  # type: ignore[attr-defined]
        except Exception as error:
            datasink.on_write_failed(error)
            raise
        datasink.on_write_complete(result)

    def _write_files(self, make: Any, path: str, options: dict[str, Any], extension: str) -> None:
        unsupported(options, ("catalog",))
        take = options.pop
        least = take("min_rows_per_file", None) or take("num_rows_per_file", None)
        size = take("min_bytes_per_file", None)
        concurrency, remote_args = take("concurrency", None), take("ray_remote_args", None)
        sink: _FileDatasink = make(
            path,
            filesystem=take("filesystem", None),
            try_create_dir=take("try_create_dir", True),
            open_stream_args=take("arrow_open_stream_args", None),
            filename_provider=take("filename_provider", None),
            file_format=extension,
            mode=take("mode", SaveMode.APPEND),
            partition_cols=take("partition_cols", None),
            max_rows_per_file=take("max_rows_per_file", None),
            **{
                name: value
                for name, value in (("min_rows_per_file", least), ("min_bytes_per_file", size))
                if value
            },
        )
        if sink.should_write():
            self.write_datasink(sink, ray_remote_args=remote_args, concurrency=concurrency)

    def _write(self, path: str, extension: str, writer: Any, args_fn: Any, options: dict[str, Any]) -> None:
        own = _own_options(options)
        write = sinks.LateWriter(writer, options, args_fn) if args_fn else writer(options)
        self._write_files(lambda p, **o: FunctionSink(p, write, **o), path, own, extension)

    def _write_plainly(
        self, path: str, extension: str, write: Any, options: dict[str, Any], name: str
    ) -> None:
        own = _own_options(options)
        if options:
            raise TypeError(f"{name}() got unexpected arguments {sorted(options)}")
        self._write_files(lambda p, **o: FunctionSink(p, write, **o), path, own, extension)

    def write_parquet(self, path: str, *, arrow_parquet_args_fn: Any = None, **options: Any) -> None:
        """Write Parquet files; further arguments go to `pyarrow.parquet.write_table`."""
        self._write(path, "parquet", sinks.parquet_writer, arrow_parquet_args_fn, options)

    def write_csv(self, path: str, *, arrow_csv_args_fn: Any = None, **options: Any) -> None:
        """Write CSV files; further arguments go to `pyarrow.csv.write_csv`."""
        self._write(path, "csv", sinks.csv_writer, arrow_csv_args_fn, options)

    def write_json(self, path: str, *, pandas_json_args_fn: Any = None, **options: Any) -> None:
        """Write files of JSON lines; further arguments go to `pandas.DataFrame.to_json`."""
        self._write(path, "json", sinks.json_writer, pandas_json_args_fn, options)

    def write_orc(self, path: str, *, arrow_orc_args_fn: Any = None, **options: Any) -> None:
        """Write ORC files; further arguments go to `pyarrow.orc.write_table`."""
        self._write(path, "orc", sinks.orc_writer, arrow_orc_args_fn, options)

    def write_numpy(self, path: str, *, column: str, **options: Any) -> None:
        """Write one column as .npy files."""
        self._write_plainly(path, "npy", sinks.numpy_writer(column), options, "write_numpy")

    def write_tfrecords(self, path: str, *, tf_schema: Any = None, **options: Any) -> None:
        """Write TFRecord files of tf.train.Example; needs no TensorFlow. `tf_schema` is not built."""
        from narke.data.datasource.tfrecord import write_examples

        unsupported({"tf_schema": tf_schema}, ("tf_schema",))
        self._write_plainly(path, "tfrecords", write_examples, options, "write_tfrecords")

    def write_webdataset(self, path: str, *, encoder: Any = True, **options: Any) -> None:
        """Write WebDataset tar files: columns become files by name, "__key__" names the rows.

        `encoder` may be a function from row to row; False writes bytes as they are.
        """
        from narke.data.datasource.webdataset import write_samples

        self._write_plainly(path, "tar", write_samples(encoder), options, "write_webdataset")

    def write_images(self, path: str, column: str, file_format: str = "png", **options: Any) -> None:
        """Write a column of arrays as image files, one a row; needs Pillow."""
        own = _own_options(options)
        if options:
            raise TypeError(f"write_images() got unexpected arguments {sorted(options)}")
        self._write_files(lambda p, **o: ImageSink(p, column, **o), path, own, file_format)

    def write_sql(
        self,
        sql: str,
        connection_factory: Any,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Run an INSERT for all rows through Python's DB-API, one transaction a task.

        Args:
            sql: the statement, with placeholders for all columns in order. connection_factory: makes a connection.
            ray_remote_args, concurrency: see `write_datasink`.
        """
        sink = table_sinks.SqlSink(sql, connection_factory)
        self.write_datasink(sink, ray_remote_args=ray_remote_args, concurrency=concurrency)

    def write_mongo(
        self,
        uri: str,
        database: str,
        collection: str,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Insert all rows into a MongoDB collection; needs pymongo. The arguments: see `write_datasink`."""
        sink = table_sinks.MongoSink(uri, database, collection)
        self.write_datasink(sink, ray_remote_args=ray_remote_args, concurrency=concurrency)

    def write_clickhouse(
        self,
        table: str,
        dsn: str,
        *,
        mode: Any = "create",
        schema: Any = None,
        client_settings: dict[str, Any] | None = None,
        client_kwargs: dict[str, Any] | None = None,
        table_settings: Any = None,
        max_insert_block_rows: int | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Insert all rows into a ClickHouse table; needs clickhouse-connect.

        Args:
            table, dsn: where to. max_insert_block_rows: rows an insert. client_settings, client_kwargs: the client's.
            mode: `SinkMode` or its name: make the table ("create"), add to it, or make it anew ("overwrite").
            schema: Arrow schema of a table to make, by default that of the rows. table_settings: how to make it.
        """
        chosen = mode if isinstance(mode, table_sinks.SinkMode) else table_sinks.SinkMode[str(mode).upper()]
        known = schema
        if known is None and chosen is not table_sinks.SinkMode.APPEND:
            found = self.schema()  # type: ignore[attr-defined]
            known = None if found is None else found.base_schema
        rows = max_insert_block_rows
        made = (chosen, known, table_settings)
        sink = table_sinks.ClickHouseSink(table, dsn, client_settings, client_kwargs, rows, *made)
        self.write_datasink(sink, ray_remote_args=ray_remote_args, concurrency=concurrency)

    def write_snowflake(
        self,
        table: str,
        connection_parameters: dict[str, Any],
        *,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Insert all rows into a Snowflake table that exists; needs snowflake-connector-python.

        Args:
            table: its name. connection_parameters: of `snowflake.connector.connect`. The rest: see `write_datasink`.
        """
        from narke.data.datasource.tables import SnowflakeConnection

        sink = table_sinks.SnowflakeSink(table, SnowflakeConnection(connection_parameters))
        self.write_datasink(sink, ray_remote_args=ray_remote_args, concurrency=concurrency)

    def write_kafka(
        self,
        topic: str,
        bootstrap_servers: str | list[str],
        key_field: str | None = None,
        key_serializer: str = "string",
        value_serializer: str = "json",
        producer_config: dict[str, Any] | None = None,
        *,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Send all rows to a Kafka topic, a message each; needs confluent-kafka.

        Args:
            topic, bootstrap_servers: where to. key_field: column of the keys. key_serializer, value_serializer: "json",
            "string" or "bytes". producer_config: the client's own settings. The rest: see `write_datasink`.
        """
        from narke.data.datasource.kafka import KafkaSink

        servers = bootstrap_servers if isinstance(bootstrap_servers, str) else ",".join(bootstrap_servers)
        settings = {"bootstrap.servers": servers, "enable.idempotence": True, **(producer_config or {})}
        sink = KafkaSink(topic, settings, key_field, key_serializer, value_serializer)
        self.write_datasink(sink, ray_remote_args=ray_remote_args, concurrency=concurrency)

    def write_delta(self, path: str, *, mode: Any = SaveMode.APPEND, **options: Any) -> None:
        """Write to a Delta Lake table, in one commit; needs deltalake.

        Args:
            path: of the table. mode: `SaveMode` or its name.
            options: partition_cols; others are those of `deltalake.write_deltalake`, such as storage_options.
        """
        table_sinks.write_delta(fetched(self._bundles()), path, mode, options)  # type: ignore[attr-defined]

    def write_lance(
        self,
        path: str,
        *,
        schema: Any = None,
        mode: Any = "create",
        min_rows_per_file: int = 1024 * 1024,
        max_rows_per_file: int = 64 * 1024 * 1024,
        data_storage_version: str | None = None,
        storage_options: dict[str, Any] | None = None,
        ray_remote_args: dict[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        """Write a Lance dataset, in one commit; needs pylance.

        Args:
            path: of the dataset. schema: Arrow schema, by default that of the rows. mode: "create", "append" or
            "overwrite". min_rows_per_file, max_rows_per_file: of each file. storage_options, data_storage_version:
            Lance's own. ray_remote_args, concurrency: see `write_datasink`.
        """
        sink = table_sinks.LanceSink(
            path, schema, mode, min_rows_per_file, max_rows_per_file, data_storage_version, storage_options
        )
        self.write_datasink(sink, ray_remote_args=ray_remote_args, concurrency=concurrency)

    def write_iceberg(
        self,
        table_identifier: str,
        catalog_kwargs: dict[str, Any] | None = None,
        *,
        catalog: Any = None,
        snapshot_properties: dict[str, str] | None = None,
        mode: Any = SaveMode.APPEND,
        overwrite_filter: Any = None,
        upsert_kwargs: dict[str, Any] | None = None,
        overwrite_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Write to an Iceberg table that exists, in one commit from the driver; needs pyiceberg.

        Args:
            table_identifier: "namespace.table". catalog_kwargs: of `pyiceberg.catalog.load_catalog`. catalog:
            `narke.data.Catalog` that says them. snapshot_properties: kept with the commit. mode: APPEND, OVERWRITE, or
            UPSERT, which holds all rows in memory. overwrite_filter: which rows to replace, all by default.
            overwrite_kwargs, upsert_kwargs: of pyiceberg's `delete` and `upsert`.
        """
        if catalog is not None:
            place = resolved(catalog, table_identifier, ReaderFormat.ICEBERG, CatalogAccessMode.WRITE)
            table_identifier, catalog_kwargs = str(place.table_identifier), place.catalog_kwargs
        blocks = fetched(self._bundles())  # type: ignore[attr-defined]
        replaced = dict(overwrite_kwargs or {})
        if overwrite_filter is not None:
            replaced["delete_filter"] = overwrite_filter
        table_sinks.write_iceberg(
            blocks,
            table_identifier,
            catalog_kwargs or {},
            mode,
            snapshot_properties or {},
            replaced,
            upsert_kwargs,
        )


OPTIONS = (
    "arrow_open_stream_args", "catalog", "concurrency", "filename_provider", "filesystem", "max_rows_per_file",
    "min_bytes_per_file", "min_rows_per_file", "mode", "num_rows_per_file", "partition_cols", "ray_remote_args",
    "try_create_dir",
)  # fmt: skip


def _own_options(options: dict[str, Any]) -> dict[str, Any]:
    """The arguments of writing itself, taken out of those that go to the format."""
    return {name: options.pop(name) for name in OPTIONS if name in options}


for _writer in (
    Writing.write_parquet,
    Writing.write_csv,
    Writing.write_json,
    Writing.write_orc,
    Writing.write_numpy,
    Writing.write_tfrecords,
    Writing.write_webdataset,
    Writing.write_images,
):
    _writer.__doc__ = (_writer.__doc__ or "") + _SHARED
