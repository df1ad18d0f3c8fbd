"""What datasets, schemas and preprocessors look like, and classes of errors, as Ray's programs know them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import ray
from ray.data.aggregate import AggregateFnV2
from ray.data.datasource import FileBasedDatasource

BOX = """shape: ({rows}, 1)
╭───────╮
│ id    │
│ ---   │
│ int64 │
╰───────╯
(Dataset isn't materialized)"""


def test_known_columns_in_a_frame():
    """Where columns are known without running, they are shown; named datasets say their names first."""
    ds = ray.data.range(10)
    assert str(ds) == BOX.format(rows=10)
    assert str(ds.sort("id").limit(3)) == BOX.format(rows=3)
    assert str(ds.filter(expr="id > 1")) == BOX.format(rows="?")
    ds.set_name("foo")
    assert str(ds) == "name: foo\n" + BOX.format(rows=10)
    assert str(ds.iterator()) == f"DataIterator({ds})"


def test_rows_of_what_has_run():
    """Up to ten rows, half from the end; long texts are cut."""
    shown = str(ray.data.range(30, override_num_blocks=4).materialize()).splitlines()
    assert shown[0] == "shape: (30, 1)" and shown[-1] == "(Showing 10 of 30 rows)"
    cells = [line.strip("│ ") for line in shown if line.startswith("│")][3:]
    assert cells == ["0", "1", "2", "3", "4", "…", "25", "26", "27", "28", "29"]
    text = str(ray.data.from_items([{"t": "x" * 80, "n": None}]))
    assert f"│ {'x' * 39}… ┆ None │" in text


def test_operators_over_their_source():
    """Functions make columns unknown: the operators are shown, the last first."""
    ds = ray.data.range(10).map(lambda r: r)
    assert str(ds) == "Map(<lambda>)\n+- Dataset(num_rows=10, schema={id: int64})"
    filtered = ds.filter(expr="id > 1")
    assert str(filtered).splitlines()[0] == "Filter(col('id') > 1)"
    lines = str(ds.groupby("id").count()).splitlines()
    assert lines[0] == "Aggregate" and lines[1] == "+- Map(<lambda>)"
    assert str(ds.drop_columns(["id"])).startswith(
        "MapBatches(drop_columns)\n+- Map(<lambda>)\n   +- Dataset("
    )
    assert str(ds.union(ds)) == "Union\n+- Map(<lambda>)\n   +- Dataset(num_rows=?, schema=Unknown schema)"
    ds.schema()
    assert str(ds).startswith("shape: (?, 1)")
    assert len(ds.take_all()) == 10 and str(ds).startswith("shape: (10, 1)")


def test_columns_of_aggregations_and_zips(tmp_path):
    """Results of aggregations and zips are known where their inputs are; so are Parquet files."""
    ds = ray.data.from_items([{"g": 1, "v": 0.5}])
    ds.write_parquet(str(tmp_path))
    read = ray.data.read_parquet(str(tmp_path))
    assert "│ g     ┆ v      │" in str(read)
    assert "│ g     ┆ mean(v) │" in str(read.groupby("g").mean("v"))
    assert "│ id    ┆ id_1  │" in str(ray.data.range(2).zip(ray.data.range(2)))
    assert str(ray.data.range(2).groupby("nope").count()).startswith("Aggregate")


def test_tensors_by_rays_names():
    """Schemas show tensors by shape and type of elements."""
    schema = str(ray.data.range_tensor(2, shape=(2, 3)).schema())
    assert "ArrowTensorTypeV2(shape=(2, 3), dtype=int64)" in schema
    ragged = ray.data.from_items([{"t": np.ones((n, 2))} for n in (1, 2)])
    assert "ArrowVariableShapedTensorType(ndim=2, dtype=double)" in str(ragged.schema())


def test_texts_of_pandas_are_texts():
    """Columns of a DataFrame's texts have the type that all other texts have."""
    frame = pd.DataFrame({"s": pd.array(["a", None], dtype="string")})
    ds = ray.data.from_pandas(frame)
    assert ds.schema().types == [pa.string()] and ds.take_all() == [{"s": "a"}, {"s": None}]


def test_users_errors_are_both():
    """An error of a user's function is one of its class, and a UserCodeException."""

    def fails(row):
        raise KeyError("boom")

    for ds in (ray.data.range(3).map(fails), ray.data.range(3).map_batches(fails)):
        with pytest.raises(ray.exceptions.UserCodeException) as caught:
            ds.take_all()
        assert isinstance(caught.value, KeyError) and isinstance(caught.value, ray.exceptions.RayTaskError)
    with pytest.raises(ValueError, match="must return"):
        ray.data.range(3).map_batches(lambda b: 5).take_all()


def test_unknown_columns_of_groups_are_value_errors():
    """As in Ray, for keys and for aggregated columns; the near name is told."""
    with pytest.raises(ValueError, match="idd"):
        ray.data.range(3).groupby("idd").count().take_all()
    with pytest.raises(ValueError, match="did you mean 'id'"):
        ray.data.range(3).sum("ids")


def test_fewer_blocks_than_shares():
    """Rows are shared out where there are fewer blocks than datasets."""
    assert [part.count() for part in ray.data.range(10).split(3)] == [4, 3, 3]
    assert [part.count() for part in ray.data.range(2).split(4)] == [1, 0, 1, 0]
    assert ray.data.range(4).split(1)[0].take_all() == ray.data.range(4).take_all()


def test_aggregations_of_users_know_their_column():
    """Classes written for Ray read `_target_col_name`."""

    class Total(AggregateFnV2):
        def __init__(self, on):
            super().__init__("total", lambda: 0, on=on, ignore_nulls=True)

        def aggregate_block(self, block):
            return pa.compute.sum(block[self._target_col_name]).as_py()

        def combine(self, current_accumulator, new):
            return current_accumulator + new

    assert ray.data.range(10).aggregate(Total("id")) == {"total": 45}


def test_readers_of_users_build_blocks(tmp_path):
    """A file-based source as Ray's guide writes it, with the builder of blocks that it imports."""
    from ray.data._internal.delegating_block_builder import DelegatingBlockBuilder

    class Lengths(FileBasedDatasource):
        def _read_stream(self, f, path):
            builder = DelegatingBlockBuilder()
            builder.add({"n": len(f.readall())})
            builder.add_batch({"n": np.array([7, 8])})
            assert builder.num_rows() == 3
            yield builder.build()

    (tmp_path / "x.bin").write_bytes(b"12345")
    ds = ray.data.read_datasource(Lengths(str(tmp_path / "x.bin"), file_extensions=["bin"]))
    assert [row["n"] for row in ds.take_all()] == [5, 7, 8]


def test_bundles_by_rays_names():
    """Bundles of references tell rows and bytes, block by block."""
    bundles = list(ray.data.range(5, override_num_blocks=2).iter_internal_ref_bundles())
    assert [bundle.num_rows() for bundle in bundles] == [2, 3]
    assert bundles[0].size_bytes() == 16 and bundles[0].schema.names == ["id"]
    assert ray.get(bundles[1].block_refs[0]).num_rows == bundles[1].metadata[0].num_rows == 3


def test_preprocessors_show_their_settings():
    """Settings by name, functions by theirs."""
    from ray.data.preprocessors import (
        Concatenator,
        CustomKBinsDiscretizer,
        FeatureHasher,
        Normalizer,
        Tokenizer,
    )

    assert str(Normalizer(["a"])) == "Normalizer(columns=['a'], norm='l2', output_columns=['a'])"
    assert "tokenization_fn=simple_split_tokenizer" in str(Tokenizer(["a"]))
    assert str(Concatenator(columns=["a"])) == "Concatenator(columns=['a'])"
    assert "bins=[0, 1], right=True" in str(CustomKBinsDiscretizer(["a"], [0, 1]))
    hasher = FeatureHasher(["a", "b"], num_features=2, output_column="h")
    assert str(hasher) == "FeatureHasher(columns=['a', 'b'], num_features=2, output_column='h')"
    made = hasher.transform_batch(pd.DataFrame({"a": [1], "b": [2]}))
    assert made["h"][0].dtype.kind == "i"


def test_arguments_of_writers_need_not_pickle(tmp_path):
    """They are made where files are written."""
    from pyarrow import csv

    options = {"arrow_csv_args_fn": lambda: {"write_options": csv.WriteOptions(include_header=False)}}
    ray.data.range(2, override_num_blocks=1).write_csv(str(tmp_path), **options)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["0\n1\n"]


def test_values_that_arrow_has_no_list_for():
    """Times of numpy in any unit, and whole numbers of more than 64 bits."""
    rows = [
        {"d": np.datetime64("2020-01-02"), "s": np.timedelta64(3, "s"), "n": 2**70},
        {"d": None, "s": None, "n": 1},
    ]
    taken = ray.data.from_items(rows).take_all()
    assert str(taken[0]["d"]).startswith("2020-01-02") and taken[1]["d"] is None
    assert taken[0]["s"] == np.timedelta64(3, "s") and [row["n"] for row in taken] == [2**70, 1]


def test_local_shuffles_need_a_size_of_batches():
    """As in Ray: rows drawn from a buffer make batches of a known size."""
    with pytest.raises(ValueError, match="batch_size"):
        list(ray.data.range(10).iter_batches(batch_size=None, local_shuffle_buffer_size=5))
