"""Columns of tensors and objects in Arrow, pandas, datasets and files."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from ray.data.extensions import (
    ArrowConversionError,
    ArrowPythonObjectArray,
    ArrowTensorArray,
    ArrowTensorType,
    ArrowTensorTypeV2,
    ArrowVariableShapedTensorArray,
    ArrowVariableShapedTensorType,
    FixedShapeTensorFormat,
    PythonObjectArray,
    PythonObjectDtype,
    TensorArray,
    TensorDtype,
    column_needs_tensor_extension,
    create_arrow_fixed_shape_tensor_type,
    get_arrow_extension_tensor_types,
)

SQUARES = np.arange(12).reshape(3, 2, 2)
RAGGED = [np.ones((2, 3)), np.zeros((1, 1)), np.full((3, 2), 2.0)]


@pytest.fixture(params=list(FixedShapeTensorFormat))
def form(request):
    with ray.data.DataContext.current(ray.data.DataContext.get_current().copy()) as context:
        context.arrow_fixed_shape_tensor_format = request.param
        yield request.param


@pytest.mark.parametrize("values", [SQUARES, SQUARES % 2 == 0, SQUARES.astype("f4"), np.zeros((0, 2, 2))])
def test_tensors_of_one_shape(form, values):
    column = ArrowTensorArray.from_numpy(values)
    numbers = values.dtype != bool
    assert isinstance(column.type, form.to_type() if numbers else (ArrowTensorType, ArrowTensorTypeV2))
    assert isinstance(column.type, get_arrow_extension_tensor_types())
    assert column.type == create_arrow_fixed_shape_tensor_type(values.shape[1:], column.type.value_type)
    got = column.to_numpy_ndarray()
    assert got.dtype == values.dtype and np.array_equal(got, values)


def test_tensors_of_one_shape_are_sliced_and_taken(form):
    column = ArrowTensorArray.from_numpy(SQUARES)
    ds = ray.data.from_arrow(pa.table({"x": column, "n": [2, 0, 1]}))
    assert np.array_equal(ds.sort("n").to_pandas()["x"].iloc[0], SQUARES[1])
    assert np.array_equal(next(iter(ds.iter_batches(batch_size=2)))["x"], SQUARES[:2])
    assert np.array_equal(ds.take(1)[0]["x"], SQUARES[0])


def test_tensors_of_differing_shapes():
    column = ArrowVariableShapedTensorArray.from_numpy(RAGGED)
    assert column.type == ArrowVariableShapedTensorType(pa.float64(), 2) and column.type.shape == (None, None)
    for got, want in zip(column.slice(1).to_numpy(), RAGGED[1:], strict=True):
        assert np.array_equal(got, want)
    wider = column.to_var_shaped_tensor_array(3)
    assert wider.type.ndim == 3 and wider.to_numpy()[0].shape == (1, 2, 3)
    with pytest.raises(ValueError, match="dimensions"):
        column.to_var_shaped_tensor_array(1)
    assert isinstance(ArrowTensorArray.from_numpy(RAGGED).type, ArrowVariableShapedTensorType)
    with pytest.raises(ArrowConversionError, match="'pictures'"):
        ArrowTensorArray.from_numpy([1, "a"], column_name="pictures")


def test_differing_shapes_travel_through_datasets_and_files(tmp_path):
    ds = ray.data.from_items([{"x": RAGGED[i % 3], "i": i} for i in range(9)], override_num_blocks=3)
    assert isinstance(ds.schema().types[0], ArrowVariableShapedTensorType)
    mixed = ds.random_shuffle(seed=1).sort("i")
    mixed.write_parquet(str(tmp_path / "out"))
    for where in (mixed, ray.data.read_parquet(str(tmp_path / "out")).sort("i")):
        for row in where.iter_rows():
            assert np.array_equal(row["x"], RAGGED[row["i"] % 3])


def test_blocks_of_different_shapes_go_together():
    ds = ray.data.range(4, override_num_blocks=4).map_batches(
        lambda b: {"x": np.zeros((1, int(b["id"][0]) + 1, 2))}
    )
    assert [row["x"].shape for row in ds.repartition(1).iter_rows()] == [(1, 2), (2, 2), (3, 2), (4, 2)]


@pytest.mark.parametrize("kind", [ArrowTensorType, ArrowTensorTypeV2])
def test_files_that_ray_wrote(tmp_path, kind):
    """The names and metadata under which Ray 2.60 writes tensors."""
    name = "ray.data.arrow_tensor" + ("_v2" if kind is ArrowTensorTypeV2 else "")
    lists = (pa.large_list if kind is ArrowTensorTypeV2 else pa.list_)(pa.int64())
    field = pa.field(
        "x", lists, metadata={"ARROW:extension:name": name, "ARROW:extension:metadata": json.dumps([2, 2])}
    )
    schema = pa.schema([field])
    flat = pa.array([row.reshape(-1).tolist() for row in SQUARES], lists)
    pq.write_table(pa.Table.from_arrays([flat], schema=schema), tmp_path / "x.parquet")
    ds = ray.data.read_parquet(str(tmp_path / "x.parquet"))
    assert isinstance(ds.schema().types[0], kind)
    assert np.array_equal(next(iter(ds.iter_batches()))["x"], SQUARES)


def test_pickled_shapes_are_not_read(tmp_path):
    import pickle

    class Bomb:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    about = {
        "ARROW:extension:name": "ray.data.arrow_tensor",
        "ARROW:extension:metadata": pickle.dumps(Bomb()),
    }
    schema = pa.schema([pa.field("x", pa.list_(pa.int64()), metadata=about)])
    with pytest.raises(ValueError, match="not JSON"):
        pa.ipc.read_schema(schema.serialize())
    assert not (tmp_path / "ran").exists()


def test_tensors_in_pandas():
    array = TensorArray(SQUARES)
    frame = pd.DataFrame({"x": array, "n": [1, 2, 3]})
    assert frame["x"].dtype == TensorDtype((2, 2), np.int64)
    assert str(frame["x"].dtype) == "TensorDtype(shape=(2, 2), dtype=int64)"
    assert TensorDtype.construct_from_string(str(frame["x"].dtype)) == frame["x"].dtype
    assert np.array_equal(frame[frame["n"] > 1]["x"].to_numpy(), SQUARES[1:])
    assert np.array_equal((frame["x"] * 2).array.to_numpy(), SQUARES * 2)
    assert np.array_equal((array + array[0]).to_numpy(), SQUARES + SQUARES[0])
    assert np.array_equal((array > 3).to_numpy(), SQUARES > 3) and (array >= 0).all()
    assert not (array < 0).any() and np.array_equal(np.sqrt(array).to_numpy(), np.sqrt(SQUARES))
    assert int(TensorArray(np.array([[7]]))[0]) == 7
    assert array.numpy_shape == (3, 2, 2) and array.numpy_size == 12 and array.nbytes == 96
    assert SQUARES[1] in array and SQUARES[1] + 99 not in array
    assert np.array_equal(pd.concat([frame, frame])["x"].array.to_numpy(), np.concatenate([SQUARES, SQUARES]))
    filled = array.take([0, -1], allow_fill=True)
    assert filled.isna().tolist() == [False, True]
    assert array.astype(TensorDtype((2, 2), np.float32)).numpy_dtype == np.float32
    other = array.copy()
    other[0] = 9
    assert array[0].to_numpy().max() == 3 and other[0].to_numpy().min() == 9
    assert np.array_equal(frame["x"].sum().to_numpy(), SQUARES.sum(axis=0))


def test_ragged_tensors_in_pandas():
    array = TensorArray(RAGGED)
    assert array.is_variable_shaped and array.dtype == TensorDtype((None, None), np.float64)
    assert array.nbytes == sum(part.nbytes for part in RAGGED)
    ds = ray.data.from_pandas(pd.DataFrame({"x": array}))
    assert [row["x"].shape for row in ds.iter_rows()] == [part.shape for part in RAGGED]
    assert isinstance(ds.schema().types[0], ArrowVariableShapedTensorType)


def test_frames_of_tensors_become_datasets():
    ds = ray.data.from_pandas(pd.DataFrame({"x": TensorArray(SQUARES)}))
    assert np.array_equal(next(iter(ds.iter_batches()))["x"], SQUARES)
    assert column_needs_tensor_extension(ds.to_pandas()["x"])
    assert not column_needs_tensor_extension(pd.Series([1, 2]))


def test_objects_in_pandas_and_arrow():
    values = [{1}, None, 2j]
    array = PythonObjectArray(values)
    series = pd.Series(array)
    assert series.dtype == PythonObjectDtype() and series.isna().tolist() == [False, True, False]
    assert series[series.notna()].tolist() == [{1}, 2j]
    assert pd.concat([series, series]).tolist() == values * 2
    column = ArrowPythonObjectArray.from_objects(values)
    assert column.to_numpy().tolist() == values and column[0].as_py() == {1} and column[1].as_py() is None
    assert pa.array(series.array).to_numpy().tolist() == values
    assert array.take([0, -1], allow_fill=True, fill_value="x").to_numpy().tolist() == [{1}, "x"]
