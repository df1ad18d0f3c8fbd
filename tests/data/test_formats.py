"""Formats beside Parquet, CSV and JSON: written and read back, by other libraries where there are such."""

import io
import json
import sqlite3
import tarfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray


@pytest.fixture
def mixed():
    """Rows of numbers, text and lists."""
    rows = [{"id": i, "text": f"t{i}", "half": i / 2, "list": [1, 2, i], "key": i % 3} for i in range(60)]
    return ray.data.from_items(rows, override_num_blocks=3)


def ids(ds):
    return sorted(row["id"] for row in ds.take_all())


def test_tfrecords(mixed, tmp_path):
    mixed.write_tfrecords(str(tmp_path / "out"))
    back = ray.data.read_tfrecords(str(tmp_path / "out"))
    assert ids(back) == list(range(60))
    row = back.sort("id").take(3)[2]
    assert row == {"id": 2, "text": b"t2", "half": 1.0, "list": [1, 2, 2], "key": 2}


def test_tfrecords_that_are_damaged_are_named(mixed, tmp_path):
    mixed.repartition(1).write_tfrecords(str(tmp_path))
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    for bad in (good[:40] + b"\xff" + good[41:], good[:-3], b"\0" + good[1:]):
        file.write_bytes(bad)
        with pytest.raises(Exception, match=file.name):
            ray.data.read_tfrecords(str(file)).take_all()


def test_webdataset(mixed, tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    rows = [
        {"__key__": f"k{i}", "txt": f"t{i}", "json": {"n": i}, "png": image, "npy": image} for i in range(4)
    ]
    ray.data.from_items(rows).write_webdataset(str(tmp_path / "out"))
    row = ray.data.read_webdataset(str(tmp_path / "out")).take(1)[0]
    assert (row["__key__"], row["txt"], row["json"]) == ("k0", "t0", {"n": 0})
    assert (row["png"] == image).all() and (row["npy"] == image).all()
    chosen = ray.data.read_webdataset(str(tmp_path / "out"), suffixes=["json"], expand_json=True)
    found = chosen.take(1)[0]
    assert found.pop("__url__").startswith(str(tmp_path / "out"))
    assert found == {"__key__": "k0", "n": 0}


def test_webdataset_never_unpickles(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.pkl", "a.pt", "a.pth"):
            data = pickle.dumps(Bomb())
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, io.BytesIO(data))
    row = ray.data.read_webdataset(str(tmp_path / "x.tar")).take(1)[0]
    assert isinstance(row["pkl"], bytes) and not (tmp_path / "ran").exists()


def test_numpy_files_with_objects_are_refused(tmp_path):
    np.save(tmp_path / "x.npy", np.array([{}, 1], dtype=object), allow_pickle=True)
    with pytest.raises(Exception, match="x.npy"):
        ray.data.read_numpy(str(tmp_path / "x.npy")).take_all()


def test_avro(tmp_path):
    fastavro = pytest.importorskip("fastavro")
    schema = {"type": "record", "name": "r", "fields": [{"name": "id", "type": "long"}]}
    with open(tmp_path / "x.avro", "wb") as out:
        fastavro.writer(out, schema, [{"id": i} for i in range(20)])
    assert ids(ray.data.read_avro(str(tmp_path))) == list(range(20))


def test_orc(mixed, tmp_path):
    mixed.write_orc(str(tmp_path / "out"))
    assert ids(ray.data.read_orc(str(tmp_path / "out"))) == list(range(60))


def test_audio(tmp_path):
    soundfile = pytest.importorskip("soundfile")
    wave = np.sin(np.linspace(0, 100, 8000)).astype(np.float32)
    soundfile.write(tmp_path / "x.wav", np.stack([wave, -wave], axis=1), 8000)
    row = ray.data.read_audio(str(tmp_path)).take(1)[0]
    assert row["sample_rate"] == 8000 and row["amplitude"].shape == (2, 8000)
    np.testing.assert_allclose(row["amplitude"][0], wave, atol=1e-3)


def test_video(tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "x.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), i * 10, np.uint8))
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    ds = ray.data.read_videos(str(tmp_path), include_timestamps=True)
    rows = ds.take_all()
    assert [r["frame_index"] for r in rows] == list(range(20))
    assert rows[3]["frame"].shape == (16, 32, 3) and rows[3]["frame_timestamp"][0] == pytest.approx(0.3)
    assert len(ray.data.read_videos(str(tmp_path), fps=5, resize=(8, 8)).take_all()) == 10


def test_images_are_written_and_read(tmp_path):
    images = np.random.default_rng(0).integers(0, 255, (5, 6, 7, 3)).astype(np.uint8)
    ray.data.from_numpy(images).write_images(str(tmp_path / "out"), column="data")
    back = np.stack([r["image"] for r in ray.data.read_images(str(tmp_path / "out")).take_all()])
    assert sorted(map(bytes, back)) == sorted(map(bytes, images))


def test_sql(mixed, tmp_path):
    path = str(tmp_path / "x.db")
    with sqlite3.connect(path) as connection:
        connection.execute("create table t (id int, text text)")
    mixed.select_columns(["id", "text"]).write_sql(
        "insert into t values (?, ?)", lambda: sqlite3.connect(path, timeout=30)
    )
    ds = ray.data.read_sql("select * from t where id < ?", lambda: sqlite3.connect(path), sql_params=(10,))
    assert ids(ds) == list(range(10)) and ds.columns() == ["id", "text"]
    assert ray.data.read_sql("select * from t where id < 0", lambda: sqlite3.connect(path)).count() == 0


def test_delta(mixed, tmp_path):
    pytest.importorskip("deltalake")
    path = str(tmp_path / "t")
    mixed.write_delta(path, partition_cols=["key"])
    mixed.write_delta(path, mode="append")
    assert ids(ray.data.read_delta(path)) == sorted([*range(60), *range(60)])
    first = ray.data.read_delta(path, version=0, columns=["key", "id"])
    assert first.columns() == ["key", "id"] and ids(first) == list(range(60))
    assert all(row["key"] == row["id"] % 3 for row in first.take_all())
    mixed.limit(5).write_delta(path, mode="overwrite")
    assert ids(ray.data.read_delta(path)) == list(range(5))


def test_lance(mixed, tmp_path):
    pytest.importorskip("lance")
    path = str(tmp_path / "t.lance")
    mixed.write_lance(path)
    mixed.write_lance(path, mode="append")
    ds = ray.data.read_lance(path, columns=["id", "text"], filter="id < 10")
    assert ids(ds) == sorted([*range(10), *range(10)]) and ds.columns() == ["id", "text"]


def test_iceberg(tmp_path):
    catalog = pytest.importorskip("pyiceberg.catalog")
    (tmp_path / "warehouse").mkdir()
    about = {
        "name": "c",
        "type": "sql",
        "uri": f"sqlite:///{tmp_path}/c.db",
        "warehouse": f"file://{tmp_path}/warehouse",
    }
    made = catalog.load_catalog(**about)
    made.create_namespace("n")
    made.create_table("n.t", schema=pa.schema([("id", pa.int64())]))
    ds = ray.data.range(20).select_columns("id")
    ds.write_iceberg("n.t", about)
    ds.write_iceberg("n.t", about)
    back = ray.data.read_iceberg(table_identifier="n.t", catalog_kwargs=about, row_filter="id >= 15")
    assert ids(back) == sorted([*range(15, 20), *range(15, 20)])


def test_partition_columns_become_folders(mixed, tmp_path):
    mixed.write_parquet(str(tmp_path / "out"), partition_cols=["key", "half"])
    assert (tmp_path / "out" / "key=1" / "half=0.5").is_dir()
    types = ray.data.datasource.Partitioning("hive", field_types={"key": int, "half": float})
    back = ray.data.read_parquet(str(tmp_path / "out"), partitioning=types)
    rows = sorted(back.take_all(), key=lambda r: r["id"])
    assert [(r["key"], r["half"]) for r in rows] == [(i % 3, i / 2) for i in range(60)]
    own = ray.data.datasource.PathPartitionFilter.of(lambda values: values["key"] == "1")
    assert ids(ray.data.read_parquet(str(tmp_path / "out"), partition_filter=own)) == list(range(1, 60, 3))


def test_folders_without_keys_are_named_by_the_reader(tmp_path):
    (tmp_path / "2020" / "de").mkdir(parents=True)
    pd.DataFrame({"x": [1]}).to_csv(tmp_path / "2020" / "de" / "a.csv", index=False)
    fields = ray.data.datasource.Partitioning("dir", str(tmp_path), ["year", "land"], {"year": int})
    assert ray.data.read_csv(str(tmp_path), partitioning=fields).take_all() == [
        {"x": 1, "year": 2020, "land": "de"}
    ]


def test_patterns(tmp_path):
    for name in ("a1.csv", "a2.csv", "b1.csv", "deep/er/a3.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x\n1\n")
    count = lambda pattern: ray.data.read_csv(f"{tmp_path}/{pattern}").count()  # noqa: E731
    assert [count(p) for p in ("a*.csv", "?1.csv", "**/*.csv", "[!a]1.csv")] == [2, 2, 4, 1]
    with pytest.raises(FileNotFoundError, match="matches"):
        count("nothing*.csv")


def test_files_of_at_most_some_rows_and_own_names(tmp_path):
    class Named(ray.data.datasource.FilenameProvider):
        def get_filename_for_block(self, block, write_uuid, task_index, block_index):
            return f"own-{task_index}-{block_index}.csv"

    ds = ray.data.range(25, override_num_blocks=1)
    ds.write_csv(str(tmp_path / "a"), max_rows_per_file=10, filename_provider=Named())
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == [f"own-0-{i}.csv" for i in range(3)]


def test_a_write_that_fails_leaves_no_half_files(tmp_path):
    with pytest.raises(Exception, match="no way"):
        ray.data.range(10).map(lambda r: {"x": r["id"]}).write_parquet(
            str(tmp_path / "out"), compression="no way"
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_sinks_of_the_user(tmp_path):
    class Sink(ray.data.Datasink):
        def write(self, blocks, ctx):
            return [ctx.task_idx, sum(b.num_rows for b in blocks)]

        def on_write_complete(self, result):
            (tmp_path / "done").write_text(json.dumps([result.num_rows, sorted(result.write_returns)]))

        def on_write_failed(self, error):
            (tmp_path / "failed").write_text(str(error))

    ray.data.range(10, override_num_blocks=2).write_datasink(Sink())
    assert json.loads((tmp_path / "done").read_text()) == [10, [[0, 5], [1, 5]]]

    def fail(batch):
        raise RuntimeError("not today")

    with pytest.raises(Exception, match="not today"):
        ray.data.range(10).map_batches(fail).write_datasink(Sink())
    assert "not today" in (tmp_path / "failed").read_text()


def test_sources_of_files_of_the_user(tmp_path):
    class Words(ray.data.datasource.FileBasedDatasource):
        def __init__(self, paths, sign, **options):
            super().__init__(paths, file_extensions=["words"], **options)
            self.sign = sign

        def _read_stream(self, f, path):
            yield {"word": f.read().decode().split(self.sign)}

    (tmp_path / "a.words").write_text("one,two")
    (tmp_path / "b.other").write_text("three")
    rows = ray.data.read_datasource(Words(str(tmp_path), ",", include_paths=True)).take_all()
    assert rows == [{"word": w, "path": str(tmp_path / "a.words")} for w in ("one", "two")]


def test_from_other_libraries():
    torch = pytest.importorskip("torch")
    got = ray.data.from_torch(torch.utils.data.TensorDataset(torch.arange(3))).take_all()
    assert [int(np.asarray(row["item"][0])) for row in got] == [0, 1, 2]
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_dict({"a": [3, 1, 2]}).sort("a")
    assert ray.data.from_huggingface(made).take_all() == [{"a": 1}, {"a": 2}, {"a": 3}]
    dask = pytest.importorskip("dask.dataframe")
    frame = dask.from_pandas(pd.DataFrame({"a": range(10)}), npartitions=3)
    assert ray.data.from_dask(frame).sum("a") == 45


def test_empty_and_unreadable_csv(tmp_path):
    (tmp_path / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("x\n1\n")
    assert ray.data.read_csv(str(tmp_path)).take_all() == [{"x": 1}]
    (tmp_path / "c.csv").write_text("x,y\n1,2\n3\n")
    with pytest.raises(Exception, match="c.csv"):
        ray.data.read_csv(str(tmp_path)).take_all()
    ds = ray.data.read_csv(str(tmp_path), override_num_blocks=3)
    ds.context.max_errored_blocks = 1
    assert ds.take_all() == [{"x": 1}]


def test_parquet_that_is_damaged_is_named(tmp_path):
    pd.DataFrame({"x": range(1000)}).to_parquet(tmp_path / "x.parquet")
    data = bytearray((tmp_path / "x.parquet").read_bytes())
    data[40:80] = b"\xff" * 40
    (tmp_path / "x.parquet").write_bytes(data)
    with pytest.raises(Exception, match="x.parquet"):
        ray.data.read_parquet(str(tmp_path)).map_batches(lambda b: {"y": b["x"]}).take_all()
    (tmp_path / "x.parquet").write_bytes(data[:100])
    with pytest.raises(Exception, match="x.parquet"):
        ray.data.read_parquet(str(tmp_path)).take_all()
