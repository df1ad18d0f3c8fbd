"""Reading and writing through a real S3 server, and many small files."""

import socket
import subprocess
import sys
import time

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from pyarrow import fs

DEADLINE_S = 60


@pytest.fixture(scope="module")
def s3():
    """A bucket on moto's S3 server, and the filesystem that reaches it."""
    pytest.importorskip("moto.server")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(port)
        system = fs.S3FileSystem(
            access_key="a",
            secret_key="b",
            region="us-east-1",
            endpoint_override=f"127.0.0.1:{port}",
            scheme="http",
            allow_bucket_creation=True,
        )
        system.create_dir("bucket")
        yield system
    finally:
        server.kill()
        server.wait()


def _wait_for(port):
    deadline = time.monotonic() + DEADLINE_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def ids(ds):
    return sorted(row["id"] for row in ds.take_all())


@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_files_in_s3(s3, kind):
    ds = ray.data.range(100, override_num_blocks=4).map(lambda r: {"id": r["id"], "key": r["id"] % 2})
    getattr(ds, f"write_{kind}")(f"bucket/{kind}", filesystem=s3, partition_cols=["key"])
    read = getattr(ray.data, f"read_{kind}")
    assert ids(read(f"bucket/{kind}", filesystem=s3)) == list(range(100))
    assert ids(read(f"bucket/{kind}/key=1/*.{kind}", filesystem=s3)) == list(range(1, 100, 2))
    chosen = read(f"bucket/{kind}", filesystem=s3).map_batches(lambda b: {"twice": b["id"] * 2})
    assert chosen.sum("twice") == 9900


def test_overwriting_in_s3(s3):
    ray.data.range(10).write_parquet("bucket/over", filesystem=s3)
    ray.data.range(3).write_parquet("bucket/over", filesystem=s3, mode="overwrite")
    assert ids(ray.data.read_parquet("bucket/over", filesystem=s3)) == [0, 1, 2]
    with pytest.raises(ValueError, match="exists"):
        ray.data.range(3).write_parquet("bucket/over", filesystem=s3, mode="error")


def test_many_small_files(tmp_path):
    for i in range(600):
        pq.write_table(pa.table({"id": [i]}), tmp_path / f"{i:04}.parquet")
    ds = ray.data.read_parquet(str(tmp_path))
    assert ds.count() == 600
    assert ids(ds) == list(range(600))
    assert len(ds.input_files()) == 600


def test_files_whose_columns_differ(tmp_path):
    pd.DataFrame({"id": [1], "a": [1]}).to_parquet(tmp_path / "1.parquet")
    pd.DataFrame({"id": [2], "b": ["x"]}).to_parquet(tmp_path / "2.parquet")
    pd.DataFrame({"id": [], "a": []}).astype("int64").to_parquet(tmp_path / "3.parquet")
    ds = ray.data.read_parquet(str(tmp_path), override_num_blocks=3)
    assert ids(ds) == [1, 2]
    assert ds.to_pandas().sort_values("id")["b"].isna().tolist() == [True, False]


def test_reads_are_tried_again_after_errors_of_the_store(tmp_path):
    from narke.data.datasource.retry import retried

    calls = []

    def read():
        calls.append(1)
        if len(calls) < 3:
            raise OSError("AWS Error SLOW_DOWN during GetObject")
        return 5

    assert retried(read, ["SLOW_DOWN"], first_wait_s=0.001) == 5 and len(calls) == 3
    with pytest.raises(OSError, match="other"):
        retried(lambda: (_ for _ in ()).throw(OSError("other")), ["SLOW_DOWN"], first_wait_s=0.001)
