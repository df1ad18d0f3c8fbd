"""CVE-2026-41486 and CVE-2026-57516: reading a data file never unpickles."""

import os
import pickle

import pytest


class Touch:
    """Pickles as the order to make a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["narke.object", "ray.data.arrow_pickled_object", "arrow.py_extension_type"])
def test_a_file_that_claims_to_hold_objects_runs_nothing(tmp_path, name):
    import pyarrow as pa
    import pyarrow.feather as feather
    import pyarrow.parquet as pq

    from narke.data import columns

    owned = str(tmp_path / "owned")
    pickled = pickle.dumps(Touch(owned))
    metadata = {b"ARROW:extension:name": name.encode(), b"ARROW:extension:metadata": pickled}
    field = pa.field("x", pa.large_binary(), metadata=metadata)
    table = pa.table([pa.array([pickled], pa.large_binary())], schema=pa.schema([field]))
    pq.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    for read in (
        lambda: pq.read_table(tmp_path / "a.parquet"),
        lambda: feather.read_table(tmp_path / "a.feather"),
    ):
        try:
            column = read().column("x")
            if isinstance(column.type, columns.ObjectType):
                columns.objects_from_arrow(column.chunk(0))
        except ValueError as error:
            assert "unpickling runs code" in str(error)
        assert not os.path.exists(owned)


def test_own_objects_travel():
    import pyarrow as pa

    from narke.data import columns

    table = pa.table({"x": columns.objects_to_arrow([{"a": 1}, None])})
    again = pickle.loads(pickle.dumps(table))
    assert columns.objects_from_arrow(again.column("x").chunk(0)) == [{"a": 1}, None]
