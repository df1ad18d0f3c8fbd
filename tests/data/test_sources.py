import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from tables import same, same_order, trips

DF = trips()


def write_parquet(folder, files=4, row_group_size=60):
    for i, part in enumerate(np.array_split(np.arange(len(DF)), files)):
        table = pa.Table.from_pandas(DF.iloc[part], preserve_index=False)
        pq.write_table(table, folder / f"part-{i}.parquet", row_group_size=row_group_size)


def test_range():
    ds = ray.data.range(1000)
    assert ds.count() == 1000
    assert ds.columns() == ["id"]
    assert [r["id"] for r in ds.take_all()] == list(range(1000))


@pytest.mark.parametrize("count", [1, 5])
def test_number_of_blocks(count):
    assert ray.data.range(100, override_num_blocks=count).materialize().num_blocks() == count


def test_from_items():
    assert ray.data.from_items([3, 1, 2]).take_all() == [{"item": 3}, {"item": 1}, {"item": 2}]
    rows = [{"a": i, "b": str(i)} for i in range(5)]
    assert ray.data.from_items(rows, override_num_blocks=2).take_all() == rows
    assert ray.data.from_items([]).count() == 0


def test_from_pandas_and_its_nulls():
    same_order(ray.data.from_pandas(DF).to_pandas(), DF)
    same_order(ray.data.from_pandas([DF[:300], DF[300:]]).to_pandas(), DF)


def test_from_arrow():
    table = pa.table({"x": [1, 2, 3], "s": ["a", None, "c"]})
    assert ray.data.from_arrow([table, table]).take_all() == table.to_pylist() * 2


def test_from_numpy():
    arrays = np.arange(24).reshape(4, 3, 2)
    rows = ray.data.from_numpy([arrays, arrays]).take_all()
    np.testing.assert_array_equal(np.stack([r["data"] for r in rows]), np.concatenate([arrays, arrays]))


def test_from_refs():
    same_order(ray.data.from_pandas_refs([ray.put(DF[:500]), ray.put(DF[500:])]).to_pandas(), DF)
    table = pa.table({"x": [1, 2]})
    assert ray.data.from_arrow_refs(ray.put(table)).take_all() == [{"x": 1}, {"x": 2}]
    assert len(ray.data.from_numpy_refs([ray.put(np.ones((3, 2)))]).take_all()) == 3


def test_read_parquet(tmp_path):
    write_parquet(tmp_path)
    ds = ray.data.read_parquet(str(tmp_path))
    assert ds.count() == len(DF)
    same_order(ds.to_pandas(), DF)
    same_order(ray.data.read_parquet(str(tmp_path / "part-1.parquet")).to_pandas(), DF[250:500])


def test_read_parquet_chooses_columns_and_rows(tmp_path):
    write_parquet(tmp_path)
    ds = ray.data.read_parquet(str(tmp_path), columns=["row", "fare"])
    same_order(ds.to_pandas(), DF[["row", "fare"]])
    got = (
        ray.data.read_parquet(str(tmp_path))
        .filter(expr="fare > 20")
        .select_columns(["row", "fare"])
        .to_pandas()
    )
    same(got, DF.loc[DF["fare"] > 20, ["row", "fare"]])


def test_a_filtered_read_counts_what_is_left(tmp_path):
    write_parquet(tmp_path)
    assert ray.data.read_parquet(str(tmp_path)).filter(expr="zone == 3").count() == (DF["zone"] == 3).sum()


def test_row_groups_of_one_file_are_read_by_several_tasks(tmp_path):
    write_parquet(tmp_path, files=1)
    ds = ray.data.read_parquet(str(tmp_path), override_num_blocks=4).materialize()
    assert 3 <= ds.num_blocks() <= 5
    same_order(ds.to_pandas(), DF)


def test_folders_name_columns(tmp_path):
    for year in (2020, 2021):
        (tmp_path / f"year={year}").mkdir()
        pq.write_table(pa.table({"x": [year]}), tmp_path / f"year={year}" / "a.parquet")
    rows = ray.data.read_parquet(str(tmp_path)).take_all()
    assert sorted((r["x"], str(r["year"])) for r in rows) == [(2020, "2020"), (2021, "2021")]


def test_read_csv(tmp_path):
    DF.to_csv(tmp_path / "a.csv", index=False)
    same_order(ray.data.read_csv(str(tmp_path / "a.csv")).to_pandas(), DF)
    DF.to_csv(tmp_path / "b.csv.gz", index=False)
    assert ray.data.read_csv(str(tmp_path)).count() == 2 * len(DF)


def test_read_csv_without_rows(tmp_path):
    (tmp_path / "a.csv").write_text("x,y\n")
    assert ray.data.read_csv(str(tmp_path)).count() == 0


def test_read_json_lines_and_arrays(tmp_path):
    DF.to_json(tmp_path / "a.json", orient="records", lines=True)
    same_order(ray.data.read_json(str(tmp_path / "a.json")).to_pandas(), DF)
    (tmp_path / "b.json").write_text('[{"x": 1}, {"x": 2}]')
    assert ray.data.read_json(str(tmp_path / "b.json")).take_all() == [{"x": 1}, {"x": 2}]


def test_read_text(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\ntwo\nthree\n", encoding="utf-8")
    assert [r["text"] for r in ray.data.read_text(str(tmp_path / "a.txt")).take_all()] == [
        "one",
        "two",
        "three",
    ]
    kept = ray.data.read_text(str(tmp_path / "a.txt"), drop_empty_lines=False).take_all()
    assert [r["text"] for r in kept] == ["one", "", "two", "three"]


def test_read_binary_files(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode() * 3)
    rows = ray.data.read_binary_files(str(tmp_path), include_paths=True).take_all()
    assert sorted((r["path"][-1], r["bytes"]) for r in rows) == [("a", b"aaa"), ("b", b"bbb")]


def test_read_numpy(tmp_path):
    np.save(tmp_path / "a.npy", np.arange(6).reshape(3, 2))
    rows = ray.data.read_numpy(str(tmp_path)).take_all()
    np.testing.assert_array_equal(np.stack([r["data"] for r in rows]), np.arange(6).reshape(3, 2))


def test_read_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for i in range(3):
        image.fromarray(np.full((8, 6, 3), i * 40, np.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "notes.txt").write_text("not an image")
    rows = ray.data.read_images(str(tmp_path), include_paths=True).take_all()
    assert sorted((r["image"].shape, int(r["image"].max()), r["path"][-5]) for r in rows) == [
        ((8, 6, 3), i * 40, str(i)) for i in range(3)
    ]
    small = ray.data.read_images(str(tmp_path), size=(4, 5), mode="L").take_all()
    assert {r["image"].shape for r in small} == {(4, 5)}


def test_what_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        ray.data.read_csv(str(tmp_path / "nothing.csv")).take_all()


class Letters(ray.data.Datasource):
    """A block for each letter."""

    def __init__(self, letters):
        self._letters = letters

    def estimate_inmemory_data_size(self):
        return len(self._letters)

    def get_read_tasks(self, parallelism, per_task_row_limit=None):
        from ray.data.block import BlockMetadata

        def task(letter):
            about = BlockMetadata(num_rows=1, size_bytes=1, input_files=None, exec_stats=None)
            return ray.data.ReadTask(lambda: [pa.table({"letter": [letter]})], about)

        return [task(letter) for letter in self._letters]


def test_a_source_of_ones_own():
    got = ray.data.read_datasource(Letters("abc")).take_all()
    assert sorted(r["letter"] for r in got) == ["a", "b", "c"]


@pytest.mark.parametrize("fmt", ["parquet", "csv", "json"])
def test_write_and_read_again(tmp_path, fmt):
    ds = ray.data.from_pandas(DF).repartition(3)
    folder = str(tmp_path / "out")
    getattr(ds, f"write_{fmt}")(folder)
    same(getattr(ray.data, f"read_{fmt}")(folder).to_pandas(), DF)
    getattr(ds, f"write_{fmt}")(folder)
    assert getattr(ray.data, f"read_{fmt}")(folder).count() == 2 * len(DF)


def test_write_numpy(tmp_path):
    ray.data.range(10, override_num_blocks=2).write_numpy(str(tmp_path), column="id")
    found = np.concatenate([np.load(p) for p in sorted(tmp_path.glob("*.npy"))])
    assert sorted(found) == list(range(10))


def test_save_modes(tmp_path):
    from ray.data import SaveMode

    folder = tmp_path / "out"
    ds = ray.data.range(5, override_num_blocks=1)
    ds.write_parquet(str(folder))
    ds.write_parquet(str(folder), mode=SaveMode.OVERWRITE)
    assert len(pd.read_parquet(folder)) == 5
    ds.write_parquet(str(folder), mode=SaveMode.IGNORE)
    assert len(pd.read_parquet(folder)) == 5
    with pytest.raises(ValueError):
        ds.write_parquet(str(folder), mode=SaveMode.ERROR)


def test_min_rows_per_file(tmp_path):
    ray.data.range(100, override_num_blocks=10).write_parquet(str(tmp_path), min_rows_per_file=50)
    sizes = [pq.read_metadata(p).num_rows for p in tmp_path.glob("*.parquet")]
    assert sorted(sizes) == [50, 50]


def test_tensors_survive_parquet(tmp_path):
    ray.data.range_tensor(6, shape=(2, 2)).write_parquet(str(tmp_path))
    rows = ray.data.read_parquet(str(tmp_path)).take_all()
    assert sorted(int(r["data"][1, 1]) for r in rows) == list(range(6))
    assert {r["data"].shape for r in rows} == {(2, 2)}


def test_a_sink_is_told_the_schema_that_is_known():
    class Keeping(ray.data.Datasink):
        def __init__(self):
            self.schema = None

        def on_write_start(self, schema=None):
            self.schema = schema

        def write(self, blocks, ctx):
            return sum(block.num_rows for block in blocks)

    sink = Keeping()
    ray.data.range(4).write_datasink(sink)
    assert sink.schema.names == ["id"]
    ray.data.range(4).map(lambda row: {"x": 1}).write_datasink(sink)
    assert sink.schema is None
