"""Sources that need a library or a server of their own, each with the real thing where it can be started here."""

import datetime
import http.server
import io
import json
import os
import sqlite3
import threading

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.data import Datasource, ReadTask
from ray.data.datasource import BaseFileMetadataProvider, FileBasedDatasource, PathPartitionParser, TimeRange
from ray.data.datasource.file_meta_provider import DefaultFileMetadataProvider
from ray.data.expressions import col


@pytest.fixture
def served():
    """Starts servers over functions from (method, path, body, headers) to (status, bytes)."""
    running = []

    def start(answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            def _answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, data = answer(self.command, self.path, body, self.headers)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = _answer

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        running.append((server, thread))
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server, thread in running:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def zarr_store(tmp_path):
    zarr = pytest.importorskip("zarr")
    path = str(tmp_path / "x.zarr")
    root = zarr.open_group(path, mode="w", zarr_format=2)
    images = np.arange(10 * 4 * 3, dtype=np.int32).reshape(10, 4, 3)
    labels = np.arange(10, dtype=np.float64)
    for name, values, chunks in (("images", images, (3, 4, 2)), ("labels", labels, (3,))):
        root.create_array(name, shape=values.shape, chunks=chunks, dtype=values.dtype)[...] = values
    root.create_array("sub/empty", shape=(5,), chunks=(2,), dtype="i4", fill_value=7)
    return path, images, labels


def test_zarr_chunks(zarr_store):
    path, images, labels = zarr_store
    ds = ray.data.read_zarr(path, array_paths=["images"])
    out = np.zeros_like(images)
    rows = ds.take_all()
    assert len(rows) == 4 * 1 * 2 and {row["array"] for row in rows} == {"images"}
    for row in rows:
        out[tuple(slice(*span) for span in row["chunk_slices"])] = row["chunk"]
    assert np.array_equal(out, images)
    coarse = ray.data.read_zarr(path, array_paths=["images"], chunk_shapes=[5, 4, 3]).take_all()
    assert [row["chunk"].shape for row in coarse] == [(5, 4, 3), (5, 4, 3)]
    assert ray.data.read_zarr(path, array_paths=["sub/empty"]).take_all()[0]["chunk"].tolist() == [7, 7]


def test_zarr_arrays_side_by_side(zarr_store):
    path, images, labels = zarr_store
    ds = ray.data.read_zarr(path, array_paths=["images", "labels"], align_axis_0=True, overlap=1)
    for row in ds.iter_rows():
        end = min(row["t_stop"] + 1, 10)
        assert np.array_equal(row["images"], images[row["t_start"] : end])
        assert np.array_equal(row["labels"], labels[row["t_start"] : end])
    assert sum(r["t_stop"] - r["t_start"] for r in ds.iter_rows()) == 10


def test_zarr_stores_that_cannot_be_read(zarr_store, tmp_path):
    path, *_ = zarr_store
    with pytest.raises(ValueError, match="allow_full_metadata_scan"):
        ray.data.read_zarr(path)
    assert {r["array"] for r in ray.data.read_zarr(path, allow_full_metadata_scan=True).take_all()} == {
        "images", "labels", "sub/empty",
    }  # fmt: skip
    with pytest.raises(ValueError, match=r"no arrays \['nothing'\]"):
        ray.data.read_zarr(path, array_paths=["nothing"])
    with pytest.raises(ValueError, match="equal first"):
        ray.data.read_zarr(path, array_paths=["images", "sub/empty"], align_axis_0=True)
    os.makedirs(tmp_path / "evil")
    about = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None}
    (tmp_path / "evil" / ".zarray").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="objects"):
        ray.data.read_zarr(str(tmp_path / "evil"), array_paths=[""])


@pytest.fixture
def messages(tmp_path):
    writer_module = pytest.importorskip("mcap.writer")
    path = str(tmp_path / "x.mcap")
    with open(path, "wb") as file:
        writer = writer_module.Writer(file)
        writer.start()
        kind = writer.register_schema("pose", "jsonschema", b"{}")
        ids = {
            t: writer.register_channel(t, "json" if t == "/pose" else "raw", kind) for t in ("/pose", "/raw")
        }
        for i in range(10):
            topic = "/pose" if i % 2 else "/raw"
            data = json.dumps({"x": i}).encode() if i % 2 else bytes([i])
            writer.add_message(ids[topic], log_time=i * 100, publish_time=i * 100, data=data, sequence=i)
        writer.finish()
    return path


def test_mcap(messages):
    rows = ray.data.read_mcap(messages, topics=["/pose"]).take_all()
    assert [row["data"]["x"] for row in rows] == [1, 3, 5, 7, 9]
    assert rows[0]["schema_name"] == "pose" and rows[0]["topic"] == "/pose"
    raw = ray.data.read_mcap(messages, topics={"/raw"}, time_range=(200, 700), include_metadata=False)
    assert [row["data"] for row in raw.take_all()] == [b"\2", b"\4", b"\6"]
    assert "schema_name" not in raw.columns()
    assert ray.data.read_mcap(messages, message_types=["other"]).count() == 0
    with pytest.raises(ValueError, match="start_time"):
        TimeRange(5, 5)


def test_a_damaged_mcap_file_is_named(messages):
    data = open(messages, "rb").read()
    with open(messages, "wb") as file:
        file.write(data[: len(data) // 2])
    with pytest.raises(Exception, match="x.mcap"):
        ray.data.read_mcap(messages).take_all()


@pytest.fixture(scope="module")
def kafka():
    """A broker inside this process, as librdkafka's own tests use it."""
    client = pytest.importorskip("confluent_kafka")
    keeper = client.Producer({"test.mock.num.brokers": 1, "bootstrap.servers": "unused"})
    brokers = keeper.list_topics(timeout=20).brokers.values()
    yield ",".join(f"{b.host}:{b.port}" for b in brokers)
    del keeper


def test_kafka_there_and_back(kafka):
    rows = [{"k": f"key{i % 3}", "n": i} for i in range(50)]
    ray.data.from_items(rows, override_num_blocks=3).write_kafka("t", kafka, key_field="k")
    ds = ray.data.read_kafka("t", bootstrap_servers=kafka)
    got = ds.take_all()
    assert sorted(json.loads(r["value"])["n"] for r in got) == list(range(50))
    assert {r["key"] for r in got} == {b"key0", b"key1", b"key2"} and {r["topic"] for r in got} == {"t"}
    partition = max(got, key=lambda r: r["offset"])["partition"]
    part = [r for r in got if r["partition"] == partition]
    later = ray.data.read_kafka(
        "t", bootstrap_servers=[kafka], start_offset={"t": {partition: 2}}, end_offset={partition: 4}
    )
    chosen = [r["offset"] for r in later.take_all() if r["partition"] == partition]
    assert chosen == [r["offset"] for r in part if 2 <= r["offset"] < 4]
    assert ray.data.read_kafka("t", bootstrap_servers=kafka, start_offset="latest").count() == 0


def test_kafka_arguments():
    from ray.data import KafkaAuthConfig

    login = KafkaAuthConfig(security_protocol="SSL", ssl_cafile="/ca", sasl_plain_password="secret")
    assert login.settings() == {
        "security.protocol": "SSL",
        "ssl.ca.location": "/ca",
        "sasl.password": "secret",
    }
    assert "secret" not in repr(login)
    with pytest.raises(ValueError, match="ssl_context"):
        KafkaAuthConfig(ssl_context=object()).settings()
    with pytest.raises(ValueError, match="trigger"):
        ray.data.read_kafka("t", bootstrap_servers="x", trigger="often")
    with pytest.raises(ValueError, match="serializer"):
        ray.data.range(1).write_kafka("t", "x", value_serializer="pickle")


class Refreshing:
    """Credentials whose first token is old."""

    def __init__(self, url):
        self.url, self.token = url, "old"

    def get_host(self):
        return self.url

    def get_token(self):
        return self.token

    def invalidate(self):
        self.token = "good"


def test_unity_catalog(served, tmp_path):
    table = tmp_path / "t.parquet"
    pq.write_table(pa.table({"x": [1, 2]}), table)
    asked = []

    def answer(method, path, body, headers):
        asked.append(headers["Authorization"])
        if headers["Authorization"] != "Bearer good":
            return 401, b"{}"
        if path.endswith("/tables/a.b.c"):
            return 200, json.dumps({"table_id": "1", "data_source_format": "PARQUET"}).encode()
        assert json.loads(body) == {"table_id": "1", "operation": "READ"}
        return 200, json.dumps({"url": f"file://{table}"}).encode()

    url = served(answer)
    assert ray.data.read_unity_catalog("a.b.c", url, "good").take_all() == [{"x": 1}, {"x": 2}]
    with pytest.raises(ValueError, match="does not tell"):
        ray.data.read_unity_catalog("a.b.c", url, "bad")

    catalog = ray.data.DatabricksUnityCatalog(credential_provider=Refreshing(url))
    assert ray.data.read_parquet("a.b.c", catalog=catalog).count() == 2
    place = catalog.resolve("a.b.c", reader=ray.data.ReaderFormat.ICEBERG)
    assert place.table_identifier == "b.c" and place.catalog_kwargs["warehouse"] == "a"
    with pytest.raises(ValueError, match="url and token"):
        ray.data.DatabricksUnityCatalog(url=url)


class Warehouse:
    """Answers as Databricks' interface for statements does, by a SQLite database."""

    def __init__(self, chunk_rows):
        self.base = sqlite3.connect(":memory:", check_same_thread=False)
        self.chunk_rows, self.polls, self.chunks, self.cancelled, self.begun = chunk_rows, 2, {}, [], []
        self.url, self.token, self.lock = "", "good", threading.Lock()

    def __call__(self, method, path, body, headers):
        with self.lock:
            if path.startswith("/signed/"):
                assert headers["Authorization"] is None
                return 200, self.chunks[int(path.rsplit("/", 1)[1])]
            if headers["Authorization"] != f"Bearer {self.token}":
                return 401, b'{"error_code": "UNAUTHENTICATED"}'
            return 200, json.dumps(self._statement(method, path, body)).encode()

    def _statement(self, method, path, body):
        if path == "/api/2.0/sql/statements/":
            self.begun.append(json.loads(body))
            return {"statement_id": "s1", "status": {"state": "PENDING"}}
        if path.endswith("/cancel"):
            self.cancelled.append(path)
            return {}
        if "/result/chunks/" in path:
            return {"external_links": [{"external_link": f"{self.url}/signed/{path.rsplit('/', 1)[1]}"}]}
        assert (method, path) == ("GET", "/api/2.0/sql/statements/s1")
        self.polls -= 1
        return {"status": {"state": "RUNNING"}} if self.polls > 0 else self._ran()

    def _ran(self):
        try:
            cursor = self.base.execute(self.begun[-1]["statement"])
        except sqlite3.Error as error:
            return {"status": {"state": "FAILED", "error": {"message": str(error)}}}
        names, about = [d[0] for d in cursor.description], []
        while rows := cursor.fetchmany(self.chunk_rows):
            table = pa.table({n: list(v) for n, v in zip(names, zip(*rows, strict=True), strict=True)})
            out = io.BytesIO()
            with pa.ipc.new_stream(out, table.schema) as stream:
                stream.write_table(table)
            self.chunks[len(about)] = out.getvalue()
            about.insert(0, {"chunk_index": len(about), "row_count": len(rows), "byte_count": table.nbytes})
        return {"status": {"state": "SUCCEEDED"}, "manifest": {"chunks": about}}


@pytest.fixture
def warehouse(served):
    made = Warehouse(4)
    made.base.execute("create table t as with recursive r(x) as (select 1 union all select x + 1 from r limit 10) "
                      "select x, x * 0.5 y, 'r' || x s from r")  # fmt: skip
    made.url = served(made)
    return made


def test_databricks_by_sql(warehouse, monkeypatch):
    monkeypatch.setenv("DATABRICKS_HOST", warehouse.url)
    monkeypatch.delenv("DATABRICKS_TOKEN", raising=False)
    with pytest.raises(ValueError, match="DATABRICKS_TOKEN"):
        ray.data.read_databricks_tables(warehouse_id="w", table="t")
    monkeypatch.setenv("DATABRICKS_TOKEN", "good")
    ds = ray.data.read_databricks_tables(
        warehouse_id="w", table="t", catalog="c", schema="d", override_num_blocks=9
    )
    assert ds.take_all() == [{"x": i, "y": i * 0.5, "s": f"r{i}"} for i in range(1, 11)]
    assert ds.materialize().num_blocks() == 3 and ds.count() == 10
    asked = warehouse.begun[0]
    assert (asked["statement"], asked["warehouse_id"], asked["catalog"], asked["schema"]) == (
        "select * from t", "w", "c", "d")  # fmt: skip
    assert (asked["disposition"], asked["format"]) == ("EXTERNAL_LINKS", "ARROW_STREAM")
    query = "select sum(x) total from t"
    assert ray.data.read_databricks_tables(warehouse_id="w", query=query).take_all() == [{"total": 55}]
    assert ray.data.read_databricks_tables(warehouse_id="w", query="select * from t where 0").count() == 0
    assert not warehouse.cancelled


def test_databricks_by_sql_that_does_not_succeed(warehouse):
    def read(provider, **what):
        return ray.data.read_databricks_tables(warehouse_id="w", credential_provider=provider, **what)

    assert read(Refreshing(warehouse.url), query="select x from t").count() == 10
    with pytest.raises(ValueError, match="did not succeed.*no such table: u"):
        read(Refreshing(warehouse.url), table="u")
    with pytest.raises(ValueError, match="either table or query"):
        read(Refreshing(warehouse.url), table="t", query="select 1")
    warehouse.token = "new"
    with pytest.raises(ValueError, match="401.*UNAUTHENTICATED"):
        read(Refreshing(warehouse.url), table="t")
    assert not warehouse.cancelled


def test_a_statement_that_is_waited_for_in_vain_is_cancelled(warehouse, monkeypatch):
    from narke.data.datasource import databricks

    monkeypatch.setattr(databricks, "QUERY_S", 0.0)
    monkeypatch.setenv("DATABRICKS_HOST", warehouse.url)
    monkeypatch.setenv("DATABRICKS_TOKEN", "good")
    with pytest.raises(TimeoutError, match="statement s1"):
        ray.data.read_databricks_tables(warehouse_id="w", table="t")
    assert warehouse.cancelled == ["/api/2.0/sql/statements/s1/cancel"]


def test_delta_sharing(served, tmp_path):
    held = {}
    for name, values in (("1", [1, 2]), ("2", [3])):
        out = io.BytesIO()
        pq.write_table(pa.table({"x": values}), out)
        held[name] = out.getvalue()

    def answer(method, path, body, headers):
        if method == "GET":
            return 200, held[path.rsplit("/", 1)[1].split("?")[0]]
        assert path == "/shares/s/schemas/d/tables/t/query" and headers["Authorization"] == "Bearer tok"
        fields = [{"name": "x", "type": "long"}, {"name": "day", "type": "date"}]
        lines = [{"protocol": {}}, {"metaData": {"schemaString": json.dumps({"fields": fields})}}]
        for name, day in (("1", "2024-01-01"), ("2", None)):
            file = {"url": f"{url}/{name}?sig=1", "partitionValues": {"day": day}, "size": len(held[name])}
            lines.append({"file": file})
        return 200, "\n".join(map(json.dumps, lines)).encode()

    url = served(answer)
    (tmp_path / "profile.json").write_text(json.dumps({"endpoint": url, "bearerToken": "tok"}))
    ds = ray.data.read_delta_sharing_tables(f"{tmp_path}/profile.json#s.d.t")
    day = datetime.date(2024, 1, 1)
    assert ds.take_all() == [{"x": 1, "day": day}, {"x": 2, "day": day}, {"x": 3, "day": None}]
    assert ray.data.read_delta_sharing_tables(f"{tmp_path}/profile.json#s.d.t", limit=1).count() == 1
    with pytest.raises(ValueError, match="share"):
        ray.data.read_delta_sharing_tables("nothing")


def test_snowflake_goes_through_its_connector(tmp_path, monkeypatch):
    """Snowflake cannot be started here; the DB-API that its connector promises is stood for by SQLite's."""
    package = tmp_path / "lib" / "snowflake"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "connector.py").write_text(
        "import sqlite3\n"
        "class Cursor(sqlite3.Cursor):\n"
        "    def executemany(self, sql, rows): return super().executemany(sql.replace('%s', '?'), rows)\n"
        "class Connection(sqlite3.Connection):\n"
        "    def cursor(self): return super().cursor(Cursor)\n"
        "def connect(account): return sqlite3.connect(account, factory=Connection)\n"
    )
    where = {"account": str(tmp_path / "db")}
    with sqlite3.connect(where["account"]) as db:
        db.execute("create table t (x integer, y text)")
    env = {"py_modules": [str(package)]}
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    rows = [{"x": i, "y": str(i)} for i in range(5)]
    ray.data.from_items(rows).write_snowflake("t", where, ray_remote_args={"runtime_env": env})
    got = ray.data.read_snowflake("select * from t where x > 1", where, runtime_env=env)
    assert got.take_all() == rows[2:]


def test_clickhouse_tables_are_made_for_a_schema():
    from narke.data.datasource.table_sinks import ClickHouseTableSettings, clickhouse_table

    schema = pa.schema([("a", pa.int64()), ("b", pa.string()), ("c", pa.timestamp("us"))])
    settings = ClickHouseTableSettings(order_by="a", partition_by="b", settings="index_granularity = 8")
    assert clickhouse_table("t", schema, settings) == (
        "CREATE TABLE IF NOT EXISTS t (`a` Int64, `b` Nullable(String), `c` Nullable(DateTime64(6))) "
        "ENGINE = MergeTree() PARTITION BY b ORDER BY a SETTINGS index_granularity = 8"
    )


class Pushed(Datasource):
    """A source that leaves out columns and rows only when it is told to, and only roughly."""

    def supports_projection_pushdown(self):
        return True

    def supports_predicate_pushdown(self):
        return True

    def get_read_tasks(self, parallelism, per_task_row_limit=None, data_context=None):
        assert data_context is not None
        names = list(self.get_projection_map() or ["a", "b", "c"])
        told = repr(self.get_current_predicate())

        def read():
            table = pa.table({"a": [1, 2, 3], "b": [4, 5, 6], "c": [told] * 3})
            yield table.select([*names, *(["c"] if "c" not in names else [])])

        return [ReadTask(read, None)]


def test_sources_of_users_are_told_of_columns_and_rows():
    ds = ray.data.read_datasource(Pushed())
    assert ds.select_columns(["b", "a"]).take_all() == [{"b": b, "a": b - 3} for b in (4, 5, 6)]
    got = ds.filter(expr=col("a") > 1).take_all()
    assert [r["a"] for r in got] == [2, 3] and "col('a') > " in got[0]["c"]


class Prepared(Datasource):
    """A source of the oldest form."""

    def prepare_read(self, parallelism, n):
        return [ReadTask(lambda i=i: [pa.table({"x": [i]})], None) for i in range(n)]


class Local(Datasource):
    """A source that must be read where the driver is."""

    supports_distributed_reads = False

    def get_read_tasks(self, parallelism, per_task_row_limit=None):
        here = lambda: [pa.table({"node": [ray.get_runtime_context().get_node_id()]})]  # noqa: E731
        return [ReadTask(here, None)]


def test_older_and_local_sources():
    assert [r["x"] for r in ray.data.read_datasource(Prepared(), n=3).take_all()] == [0, 1, 2]
    with pytest.raises(TypeError, match="unexpected"):
        ray.data.read_datasource(Pushed(), nothing=1)
    node = ray.get_runtime_context().get_node_id()
    assert ray.data.read_datasource(Local()).take_all() == [{"node": node}]


def test_files_that_a_provider_of_the_user_finds(tmp_path):
    for name in ("a.txt", "b.txt", "c.bin"):
        (tmp_path / name).write_text(name)

    class Texts(FileBasedDatasource):
        def _read_stream(self, f, path):
            yield pa.table({"text": [f.read().decode()]})

    class OnlyA(BaseFileMetadataProvider):
        def expand_paths(self, paths, filesystem, partitioning=None, ignore_missing_paths=False):
            return (
                (p, s) for p, s in DefaultFileMetadataProvider().expand_paths(paths, filesystem) if "a." in p
            )

    source = Texts(str(tmp_path), meta_provider=OnlyA())
    assert ray.data.read_datasource(source).take_all() == [{"text": "a.txt"}]
    assert (
        source.resolve_compression("x.gz", {}) == "gzip" and source.resolve_compression("x.txt", {}) is None
    )
    assert not Texts("local://" + str(tmp_path)).supports_distributed_reads
    known = DefaultFileMetadataProvider()(["a", "b"], rows_per_file=3, file_sizes=[1, 2])
    assert (known.num_rows, known.size_bytes) == (6, 3)


def test_predicates_over_partitions(tmp_path):
    parser = PathPartitionParser.of(base_dir="/d", field_types={"year": int})
    assert parser.evaluate_predicate_on_partition("/d/year=2020/x", col("year") == 2020)
    assert not parser.evaluate_predicate_on_partition("/d/year=2020/x", col("year") > 2020)
    assert parser.evaluate_predicate_on_partition("/d/year=2020/x", col("other") > 2020)
    assert "year" in str(parser.scheme.to_pyarrow().schema)


def test_mixtures():
    a, b = (
        ray.data.range(60, override_num_blocks=6).map_batches(lambda x, s=s: {"s": [s] * len(x["id"])})
        for s in "ab"
    )
    got = [r["s"] for r in a.mix(b, weights=[3, 1]).iter_rows()]
    assert len(got) == 120 and got[:60].count("a") >= 2 * got[:60].count("b") > 0
    short = (
        a.limit(10).materialize().mix(b, stopping_condition=ray.data.MixStoppingCondition.STOP_ON_SHORTEST)
    )
    assert short.count() < 70
    with pytest.raises(ValueError, match="positive weights"):
        a.mix(b, weights=[1])


def test_joins_that_check_their_keys():
    left = ray.data.from_items([{"id": 1, "x": 1}])
    right = ray.data.from_items([{"id": "1", "y": 1}])
    with pytest.raises(ValueError, match="same types"):
        left.join(right, "inner", 2, validate_schemas=True)
    with pytest.raises(ValueError, match="did you mean 'id'"):
        left.join(right, "inner", 2, on=("idd",), validate_schemas=True)
    both = left.join(
        left.rename_columns({"x": "y"}),
        "inner",
        2,
        partition_size_hint=1024,
        aggregator_ray_remote_args={"num_cpus": 0.5},
    )
    assert both.take_all() == [{"id": 1, "x": 1, "y": 1}]


def test_seeds_that_change_with_each_execution():
    from ray.data import RandomSeedConfig

    def orders(config):
        ds = ray.data.range(50, override_num_blocks=2).random_shuffle(seed=config)
        return [[r["id"] for r in ds.iter_rows()] for _ in range(2)]

    same, other = orders(RandomSeedConfig(7, False)), orders(RandomSeedConfig(7))
    assert same[0] == same[1] and other[0] != other[1] and sorted(other[0]) == list(range(50))


def test_options_that_a_function_gives():
    seen = []

    def options():
        seen.append(1)
        return {"num_cpus": 0.5}

    ds = ray.data.range(8, override_num_blocks=4).map(lambda row: row, ray_remote_args_fn=options)
    assert ds.count() == 8 and len(seen) == 4


def test_files_of_at_least_so_many_bytes(tmp_path):
    ray.data.range(1000, override_num_blocks=10).write_parquet(str(tmp_path / "out"), min_bytes_per_file=4000)
    assert (
        len(os.listdir(tmp_path / "out")) == 2
        and ray.data.read_parquet(str(tmp_path / "out")).count() == 1000
    )
