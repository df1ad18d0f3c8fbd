"""Functions that make datasets of tables and of other libraries' data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import narke
from narke.data import blocks as blk
from narke.data._arguments import remote_arguments, unsupported
from narke.data.catalog import DatabricksUnityCatalog, ReaderFormat, resolved
from narke.data.dataset import Dataset, MaterializedDataset
from narke.data.datasource import tables
from narke.data.datasource.databricks import DatabricksTables, workspace
from narke.data.datasource.datasource import Datasource
from narke.data.read_api import from_arrow, from_pandas, from_pandas_refs, read_source

__all__ = [
    "from_daft",
    "from_dask",
    "from_huggingface",
    "from_modin",
    "from_spark",
    "from_tf",
    "from_torch",
    "read_clickhouse",
    "read_databricks_tables",
    "read_delta",
    "read_delta_sharing_tables",
    "read_hudi",
    "read_iceberg",
    "read_kafka",
    "read_lance",
    "read_lerobot",
    "read_mongo",
    "read_snowflake",
    "read_sql",
    "read_unity_catalog",
    "read_zarr",
]

_SHARED = """

    Further arguments: `concurrency`, most read tasks at once; `override_num_blocks`, number of read tasks where the
    source can be divided; `num_cpus` and the like, and `ray_remote_args`, resources of read tasks.
    """


def _dataset(source: Datasource, options: dict[str, Any]) -> Dataset:
    blocks, parallelism = options.pop("override_num_blocks", None), options.pop("parallelism", -1)
    concurrency, given = options.pop("concurrency", None), options.pop("ray_remote_args", None) or {}
    return read_source(source, parallelism, concurrency, blocks, remote_arguments({**given, **options}))


def read_sql(
    sql: str,
    connection_factory: Callable[[], Any],
    *,
    sql_params: Any = None,
    shard_keys: list[str] | None = None,
    shard_hash_fn: str = "MD5",
    **options: Any,
) -> Dataset:
    """A dataset of a query's rows, through Python's DB-API.

    Args:
        sql: the query. connection_factory: makes a connection; runs in the tasks. sql_params: of the query.
        shard_keys: columns by whose hash the query is divided among `override_num_blocks` tasks; else one task reads.
        shard_hash_fn: the database's function for that hash, whose result must be a number.
    """
    source = tables.SqlSource(sql, connection_factory, sql_params, shard_keys, shard_hash_fn)
    return _dataset(source, options)


REMOTE = ("parallelism", "num_cpus", "num_gpus", "memory", "concurrency", "override_num_blocks", "label_selector",
          "fallback_strategy", "max_calls", "resources", "accelerator_type", "runtime_env",
          "ray_remote_args")  # fmt: skip


def read_mongo(
    uri: str, database: str, collection: str, *, pipeline: Any = None, schema: Any = None, **options: Any
) -> Dataset:
    """A dataset of a MongoDB collection; needs pymongo. `pipeline`: an aggregation; other options are the client's."""
    unsupported({"schema": schema}, ("schema",))
    own = {name: options.pop(name) for name in REMOTE if name in options}
    return _dataset(tables.mongo_source(uri, database, collection, pipeline, options), own)


def read_clickhouse(
    *,
    table: str,
    dsn: str,
    columns: list[str] | None = None,
    filter: str | None = None,
    order_by: tuple[list[str], bool] | None = None,
    client_settings: dict[str, Any] | None = None,
    client_kwargs: dict[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of a ClickHouse table; needs clickhouse-connect.

    Args:
        table, dsn: what to read. columns: by default all. filter: SQL of a condition.
        order_by: (columns, descending). client_settings, client_kwargs: the client's.
    """
    query = f"SELECT {', '.join(columns or ['*'])} FROM {table}"
    query += f" WHERE {filter}" if filter else ""
    if order_by:
        names, descending = order_by
        query += f" ORDER BY {', '.join(f'{n} DESC' if descending else n for n in names)}"
    return _dataset(tables.clickhouse_source(query, dsn, client_settings, client_kwargs), options)


def read_lance(
    uri: str,
    *,
    version: int | str | None = None,
    columns: list[str] | None = None,
    filter: str | None = None,
    storage_options: dict[str, str] | None = None,
    scanner_options: dict[str, Any] | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of a Lance dataset at a version, with columns and filter (SQL) read by Lance; needs pylance."""
    source = tables.lance_source(uri, version, columns, filter, storage_options, scanner_options or {})
    return _dataset(source, options)


def read_hudi(
    table_uri: str,
    *,
    query_type: str = "snapshot",
    filters: list[tuple[str, str, Any]] | None = None,
    hudi_options: dict[str, str] | None = None,
    storage_options: dict[str, str] | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of an Apache Hudi table; needs hudi.

    Args:
        query_type: "snapshot", the table as it is, or "incremental", what changed between the times that `hudi_options`
            say by "hoodie.read.start.timestamp" (left out) and "hoodie.read.end.timestamp".
        filters: (column, operator, value) triples, all of which must hold. hudi_options: Hudi's, of the read.
        storage_options: of the table's storage.

    Raises:
        ValueError: there is no such query_type.
    """
    if query_type not in ("snapshot", "incremental"):
        raise ValueError(f'read_hudi: query_type must be "snapshot" or "incremental", not {query_type!r}')
    source = tables.hudi_source(table_uri, query_type, filters, hudi_options or {}, storage_options or {})
    return _dataset(source, options)


def read_iceberg(
    *,
    table_identifier: str,
    row_filter: Any = None,
    selected_fields: tuple[str, ...] = ("*",),
    snapshot_id: int | None = None,
    scan_kwargs: dict[str, Any] | None = None,
    catalog_kwargs: dict[str, Any] | None = None,
    catalog: Any = None,
    **options: Any,
) -> Dataset:
    """A dataset of an Iceberg table; needs pyiceberg.

    Args:
        table_identifier: "namespace.table". row_filter, selected_fields, snapshot_id, scan_kwargs: of its scan.
        catalog_kwargs: of `pyiceberg.catalog.load_catalog`. catalog: `narke.data.Catalog` that says them.
    """
    if catalog is not None:
        place = resolved(catalog, table_identifier, ReaderFormat.ICEBERG)
        table_identifier, catalog_kwargs = str(place.table_identifier), place.catalog_kwargs
    source = tables.iceberg_source(
        table_identifier, row_filter, selected_fields, snapshot_id, scan_kwargs, catalog_kwargs or {}
    )
    return _dataset(source, options)


def read_delta(
    path: str,
    version: int | None = None,
    *,
    storage_options: dict[str, str] | None = None,
    columns: list[str] | None = None,
    catalog: Any = None,
    **options: Any,
) -> Dataset:
    """A dataset of a Delta Lake table at a version; needs deltalake. Further options are those of `read_parquet`.

    With a `catalog` (`narke.data.Catalog`), `path` is the name of a table in it.
    """
    from narke.data._read_files import read_parquet_files

    if catalog is not None:
        place = resolved(catalog, path, ReaderFormat.DELTA)
        path, storage_options = str(place.path), {**(place.storage_options or {}), **(storage_options or {})}
        options.setdefault("filesystem", place.filesystem)
    names, values, schema = tables.delta_files(path, version, storage_options)
    keys = list(values[0]) if values else []
    made = read_parquet_files(path, names, values, columns, options)
    if made is None:
        return from_arrow(schema.empty_table() if columns is None else schema.empty_table().select(columns))
    return made if columns is None or not keys else made.select_columns(columns)


def read_delta_sharing_tables(
    url: str,
    *,
    limit: int | None = None,
    version: int | None = None,
    timestamp: str | None = None,
    json_predicate_hints: str | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of a table shared by the Delta Sharing protocol.

    Args:
        url: "<profile file>#<share>.<schema>.<table>". limit: rows to read. version, timestamp: of the table.
        json_predicate_hints: which rows matter, for the server to leave out files.
    """
    from narke.data.datasource.delta_sharing import DeltaSharingDatasource

    made = _dataset(DeltaSharingDatasource(url, json_predicate_hints, limit, version, timestamp), options)
    return made if limit is None else made.limit(limit)


def read_unity_catalog(
    table: str,
    url: str | None = None,
    token: str | None = None,
    *,
    credential_provider: Any = None,
    data_format: str | None = None,
    region: str | None = None,
    reader_kwargs: dict[str, Any] | None = None,
) -> Dataset:
    """A dataset of a table in Unity Catalog, read as what it is.

    Args:
        table: "catalog.schema.table". data_format: "delta", "parquet" or "iceberg", when the catalog does not say.
        reader_kwargs: of the reader of that format. The rest: see `DatabricksUnityCatalog`.

    Raises:
        ValueError: nobody says what the table is.
    """
    from narke.data._read_files import read_parquet

    catalog = DatabricksUnityCatalog(
        url=url, token=token, credential_provider=credential_provider, region=region
    )
    kind = ReaderFormat(data_format) if data_format else catalog.infer_format(table)
    if kind is None:
        raise ValueError(f"the catalog does not say what {table} is: give data_format")
    more = {"catalog": catalog, **(reader_kwargs or {})}
    if kind is ReaderFormat.ICEBERG:
        return read_iceberg(table_identifier=table, **more)
    return read_delta(table, **more) if kind is ReaderFormat.DELTA else read_parquet(table, **more)


def read_databricks_tables(
    *,
    warehouse_id: str,
    table: str | None = None,
    query: str | None = None,
    catalog: str | None = None,
    schema: str | None = None,
    credential_provider: Any = None,
    **options: Any,
) -> Dataset:
    """A dataset of a query's rows, or a table's, by a SQL warehouse of Databricks.

    Args:
        warehouse_id: runs the query, at once. table: its name. query: in the place of a table.
        catalog, schema: where names without them are looked up.
        credential_provider: object with `get_host()`, `get_token()` and `invalidate()`; else the environment variables
            DATABRICKS_HOST and DATABRICKS_TOKEN say where and how to log in.

    Raises:
        ValueError: not exactly one of `table` and `query`, no place to log in to, or the query does not succeed.
    """
    if (table is None) == (query is None):
        raise ValueError("read_databricks_tables: give either table or query")
    names = {"warehouse_id": warehouse_id, "catalog": catalog, "schema": schema}
    statement = {
        "statement": query or f"select * from {table}",
        **{k: v for k, v in names.items() if v is not None},
    }
    return _dataset(DatabricksTables(workspace(credential_provider), statement), options)


def read_snowflake(
    sql: str, connection_parameters: dict[str, Any], *, shard_keys: list[str] | None = None, **options: Any
) -> Dataset:
    """A dataset of a query of Snowflake; needs snowflake-connector-python.

    Args:
        sql: the query. connection_parameters: of `snowflake.connector.connect`. shard_keys: see `read_sql`.
    """
    connect = tables.SnowflakeConnection(connection_parameters)
    return read_sql(sql, connect, shard_keys=shard_keys, shard_hash_fn="HASH", **options)


def read_kafka(
    topics: str | list[str],
    *,
    bootstrap_servers: str | list[str],
    trigger: str = "once",
    start_offset: Any = "earliest",
    end_offset: Any = "latest",
    kafka_auth_config: Any = None,
    consumer_config: dict[str, Any] | None = None,
    timeout_ms: int | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of the messages of Kafka topics, a task a partition; needs confluent-kafka.

    Args:
        topics, bootstrap_servers: what to read, from where. trigger: "once", what is there when it begins.
        start_offset, end_offset: "earliest", "latest", a number or a time; or dicts of such by topic and partition.
        kafka_auth_config: `KafkaAuthConfig`. consumer_config: the client's own settings.
        timeout_ms: after which a task is content with what it has read.
    """
    from narke.data.datasource.kafka import KafkaSource

    if trigger != "once":
        raise ValueError(f"read_kafka: trigger must be 'once', not {trigger!r}")
    servers = bootstrap_servers if isinstance(bootstrap_servers, str) else ",".join(bootstrap_servers)
    login = kafka_auth_config.settings() if kafka_auth_config else {}
    settings = {"bootstrap.servers": servers, **login, **(consumer_config or {})}
    longest_s = None if timeout_ms is None else timeout_ms / 1000
    return _dataset(KafkaSource(topics, settings, start_offset, end_offset, longest_s), options)


def read_zarr(
    path: str,
    *,
    filesystem: Any = None,
    chunk_shapes: Any = None,
    array_paths: list[str] | None = None,
    allow_full_metadata_scan: bool = False,
    align_axis_0: bool = False,
    overlap: int = 0,
    **options: Any,
) -> Dataset:
    """A dataset of the chunks of the arrays of a Zarr store (version 2); needs numcodecs where they are compressed.

    Each row is a chunk: "array", "chunk_index", "chunk_slices" ([start, stop] by axis), "chunk". With `align_axis_0`,
    arrays of equal length stand side by side: "t_start", "t_stop", and a column an array.

    Args:
        chunk_shapes: sizes of leading axes of the pieces to read, for all arrays or by array.
        array_paths: arrays to read; by default all that ".zmetadata" names, or (`allow_full_metadata_scan`) are there.
        overlap: elements after each aligned row's own, which it has, too.
    """
    from narke.data.datasource import paths, zarr_arrays

    system, root = paths.resolve(path, filesystem)
    arrays = zarr_arrays.find_arrays(system, root.rstrip("/"), array_paths, allow_full_metadata_scan)
    return _dataset(zarr_arrays.ZarrSource(arrays, chunk_shapes, align_axis_0, overlap), options)


def read_lerobot(
    root: Any,
    *,
    episodes: list[int] | None = None,
    read_granularity: str = "file",
    filesystem: Any = None,
    frame_tolerance_s: float | None = None,
    delta_timestamps: dict[str, list[float]] | None = None,
    delta_tolerance_s: float = 1e-4,
    storage_options: dict[str, Any] | None = None,
    override_num_blocks: int | None = None,
    **options: Any,
) -> Dataset:
    """A dataset of recordings of robots in LeRobot's format 3: a row a frame; needs av (videos) and pillow (images).

    Pictures are arrays (height x width x RGB). Beside the recorded columns stand "task", its name; "dataset_index", the
    number of its root; and "stats", what is known of the columns' values, as JSON.

    Args:
        root: a folder or URI, or several whose datasets are alike. episodes: those to read, all by default.
        read_granularity: a block for episodes in the same "file" or for each "episode".
        frame_tolerance_s: seconds between a row and its video's frame, half a frame by default.
        delta_timestamps: by feature, offsets in seconds: the feature at those times around each row, stacked, and
            whether they lay outside of the episode ("..._is_pad"), where the nearest frame stands in for them.
        delta_tolerance_s: seconds by which an offset may miss a frame. storage_options: of fsspec's filesystem.

    Raises:
        ValueError: see `narke.data.datasource.LeRobotDatasource`.
    """
    from narke.data.datasource.lerobot import LeRobotDatasource

    source = LeRobotDatasource(
        root,
        episodes=episodes,
        read_granularity=read_granularity,
        filesystem=filesystem,
        storage_options=storage_options,
        frame_tolerance_s=frame_tolerance_s,
        delta_timestamps=delta_timestamps,
        delta_tolerance_s=delta_tolerance_s,
    )
    blocks = override_num_blocks or source.default_num_blocks()
    return _dataset(source, {**options, "override_num_blocks": blocks})


def from_huggingface(
    dataset: Any,
    parallelism: int = -1,
    concurrency: int | None = None,
    override_num_blocks: int | None = None,
) -> Dataset:
    """A dataset of a Hugging Face `datasets.Dataset` (its Arrow tables, in place) or `IterableDataset`."""
    if hasattr(dataset, "keys"):
        raise TypeError(f"this is a dict of the datasets {list(dataset.keys())}: choose one of them")
    if not hasattr(dataset, "data"):
        return _dataset(tables.iterable_source("HuggingFace", lambda: dataset), {})
    if dataset._indices is not None:
        dataset = dataset.flatten_indices()
    return from_arrow(dataset.with_format("arrow")[:], override_num_blocks=override_num_blocks)


def from_torch(dataset: Any, local_read: bool = False) -> Dataset:
    """A dataset of a torch dataset, items in column "item"; one task reads it. `local_read` is of no consequence."""

    def items() -> Any:
        if hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"):
            return (dataset[i] for i in range(len(dataset)))
        return iter(dataset)

    wrapped = tables.iterable_source("Torch", lambda: ({blk.ITEM: item} for item in items()))
    return _dataset(wrapped, {})


def from_tf(dataset: Any) -> MaterializedDataset:
    """A dataset of a tf.data.Dataset, which is read here and must fit in memory."""
    from narke.data.read_api import from_items

    return from_items(list(dataset.as_numpy_iterator()))


def from_dask(df: Any) -> MaterializedDataset:
    """A dataset of a Dask DataFrame, a block a partition."""
    import dask

    from narke.util.dask import ray_dask_get

    parts = dask.compute(*df.to_delayed(), scheduler=ray_dask_get)
    return from_pandas([part for part in parts if len(part)] or list(parts[:1]))


def from_modin(df: Any) -> MaterializedDataset:
    """A dataset of a Modin DataFrame, a block a partition."""
    from modin.distributed.dataframe.pandas.partitions import unwrap_partitions

    refs = unwrap_partitions(df, axis=0)
    if refs and isinstance(refs[0], narke.ObjectRef):
        return from_pandas_refs(list(refs))
    return from_pandas(df._to_pandas())


def from_daft(df: Any) -> MaterializedDataset:
    """A dataset of a Daft DataFrame, which is computed here."""
    return from_arrow(df.to_arrow())


def from_spark(df: Any, *, parallelism: int | None = None, override_num_blocks: int | None = None) -> Any:
    """A dataset of a Spark DataFrame, which reaches the driver as Arrow tables."""
    count = override_num_blocks or parallelism
    if hasattr(df, "toArrow"):
        return from_arrow(df.toArrow(), override_num_blocks=count)
    return from_pandas(df.toPandas(), override_num_blocks=count)


for _function in (
    read_sql,
    read_mongo,
    read_clickhouse,
    read_lance,
    read_hudi,
    read_iceberg,
    read_snowflake,
    read_kafka,
    read_zarr,
    read_delta_sharing_tables,
):
    _function.__doc__ = (_function.__doc__ or "") + _SHARED
