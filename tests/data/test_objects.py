"""Columns of Python objects: pickles that travel inside a cluster, and are read from nowhere else."""

import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from narke.data import columns


class Bomb:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def forged(tmp_path, key=b""):
    """A table as an attacker writes it: the type's name, and a pickle that leaves a file behind when it is read."""
    data = pa.array([b"\0" * columns.SEAL_BYTES + pickle.dumps(Bomb(tmp_path / "ran"))], pa.large_binary())
    return pa.table({"x": pa.ExtensionArray.from_storage(columns.ObjectType(), data)})


def test_objects_travel_between_programs_of_a_cluster():
    values = [{1, 2}, object, None, np.array([1, 2]), np.array([[3]])]
    ds = ray.data.from_items([{"x": v} for v in values]).map(lambda row: {"x": row["x"], "n": 1})
    got = [row["x"] for row in ds.take_all()]
    assert got[:3] == values[:3]
    assert got[3].tolist() == [1, 2] and got[4].tolist() == [[3]]


@pytest.mark.parametrize(
    "read", [lambda ds: ds, lambda ds: ds.select_columns("x"), lambda ds: ds.filter(expr="n > 0")]
)
def test_a_file_that_claims_to_hold_objects_is_refused(tmp_path, read):
    path = tmp_path / "evil.parquet"
    pq.write_table(forged(tmp_path).append_column("n", pa.array([1])), path)
    with pytest.raises(Exception, match="evil.parquet.*pickled"):
        read(ray.data.read_parquet(str(path))).take_all()
    assert not (tmp_path / "ran").exists()


def test_a_forged_table_that_a_function_reads_is_refused(tmp_path):
    path = str(tmp_path / "evil.parquet")
    pq.write_table(forged(tmp_path), path)
    ds = ray.data.range(1).map_batches(lambda batch: pq.read_table(path), batch_format="pyarrow")
    with pytest.raises(ValueError, match="no program of this cluster"):
        ds.take_all()
    assert not (tmp_path / "ran").exists()


def test_a_changed_object_is_refused():
    good = columns.objects_to_arrow([{1}, {2}])
    raw = bytearray(good.storage[0].as_py())
    raw[-3] ^= 1
    bad = pa.ExtensionArray.from_storage(columns.ObjectType(), pa.array([bytes(raw)], pa.large_binary()))
    assert columns.objects_from_arrow(good) == [{1}, {2}]
    with pytest.raises(ValueError, match="no program of this cluster"):
        columns.objects_from_arrow(bad)


def test_ipc_bytes_with_objects_are_refused(tmp_path):
    held = pa.BufferOutputStream()
    table = forged(tmp_path)
    with pa.ipc.new_stream(held, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ValueError, match="pickled"):
        ray.data.from_arrow(held.getvalue().to_pybytes())


def test_objects_are_not_written_to_data_files(tmp_path):
    ds = ray.data.from_items([{"x": 1j}])
    with pytest.raises(Exception, match=r"cannot write: the columns \['x'\] are pickled"):
        ds.write_parquet(str(tmp_path / "out"))
    assert list((tmp_path / "out").iterdir()) == []
