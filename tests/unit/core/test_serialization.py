"""What does not pickle is explained; job configurations and logging configurations check what they are given."""

import json
import logging
import pickle
import threading

import pytest

from narke import LoggingConfig
from narke._private import serialization
from narke._private.arrow_slices import reduce_slice
from narke._private.culprit import find_culprit
from narke._private.logging_config import _Json
from narke._private.serialization import cloud_pickle, explain
from narke.job_config import JobConfig


class Holder:
    def __init__(self):
        self.fine, self.lock = 1, threading.Lock()


def locked():
    lock = threading.Lock()
    return lambda: lock


class TestCulprit:
    @pytest.mark.parametrize(
        "value, text",
        [
            (Holder(), "attribute 'lock'"),
            ({"key": [1, threading.Lock()]}, "element 1 of item 'key'"),
            (locked(), "captured variable 'lock'"),
            ([Holder()], "attribute 'lock' of element 0"),
        ],
        ids=["attribute", "nested", "closure", "deep"],
    )
    def test_is_found(self, value, text):
        found = find_culprit(value, cloud_pickle)
        assert text in found and "lock" in found

    def test_the_value_itself(self):
        assert find_culprit(threading.Lock(), cloud_pickle) is None

    def test_explanation(self):
        error = explain(Holder(), TypeError("cannot pickle"), "the argument x")
        assert isinstance(error, TypeError)
        assert "the argument x" in str(error) and "attribute 'lock'" in str(error)

    def test_other_failures_stay_as_they_are(self):
        failure = MemoryError()
        assert explain(1, failure) is failure


class TestExport:
    def test_too_large(self, monkeypatch):
        monkeypatch.setattr(serialization, "_FUNCTION_MAX_BYTES", 1000)
        data = b"x" * 2000
        with pytest.raises(ValueError, match="remote function f is too large.*put"):
            serialization.export_pickle(lambda: data, "remote function", "f")

    def test_large_is_warned_of(self):
        data = b"x" * (2 << 20)
        with pytest.warns(UserWarning, match="very large"):
            serialization.export_pickle(lambda: data, "remote function", "f")

    def test_unpicklable_names_the_function(self):
        with pytest.raises(TypeError, match="the remote function f.*captured variable 'lock'"):
            serialization.export_pickle(locked(), "remote function", "f")


class TestJobConfig:
    def test_from_json(self):
        job = JobConfig.from_json({"ray_namespace": "n", "metadata": {"a": "b"}, "code_search_path": "x:y"})
        assert (job.ray_namespace, job.metadata, job.code_search_path) == ("n", {"a": "b"}, ["x", "y"])

    @pytest.mark.parametrize(
        "given, error",
        [
            ({"ray_namespace": ""}, ValueError),
            ({"ray_namespace": 1}, TypeError),
            ({"metadata": {"a": 1}}, TypeError),
            ({"default_actor_lifetime": "long"}, ValueError),
        ],
        ids=str,
    )
    def test_wrong(self, given, error):
        with pytest.raises(error):
            JobConfig(**given)


class TestLoggingConfig:
    @pytest.mark.parametrize("given", [{"encoding": "XML"}, {"additional_log_standard_attrs": ["nothing"]}])
    def test_wrong(self, given):
        with pytest.raises(ValueError):
            LoggingConfig(**given)

    def test_round_trip(self):
        config = LoggingConfig("JSON", "DEBUG", ["name"])
        assert LoggingConfig.from_dict(config.to_dict()) == config

    def test_json_lines(self):
        record = logging.LogRecord("logger", logging.INFO, "/a/b.py", 7, "hello %d", (3,), None)
        record.extra = "more"
        fields = json.loads(
            _Json(LoggingConfig("JSON", additional_log_standard_attrs=["name"])).format(record)
        )
        assert fields["message"] == "hello 3" and fields["lineno"] == 7
        assert fields["name"] == "logger" and fields["extra"] == "more"


def test_cloudpickle_module_uses_the_engines_pickler():
    import narke.cloudpickle

    assert pickle.loads(narke.cloudpickle.dumps(lambda: 5))() == 5


class TestArrowSlices:
    def test_whole_tables_are_left_to_arrow(self):
        pyarrow = pytest.importorskip("pyarrow")
        table = pyarrow.table({"n": range(100_000)})
        assert reduce_slice(table) is None
        assert reduce_slice(table.slice(0, 10)) is not None

    def test_extension_types_need_no_registration(self):
        pyarrow = pytest.importorskip("pyarrow")

        class Celsius(pyarrow.ExtensionType):
            def __init__(self):
                super().__init__(pyarrow.float64(), "test.celsius")

            def __arrow_ext_serialize__(self):
                return b""

            @classmethod
            def __arrow_ext_deserialize__(cls, storage_type, serialized):
                return cls()

        column = pyarrow.ExtensionArray.from_storage(Celsius(), pyarrow.array([1.5] * 100_000))
        part = pyarrow.table({"t": column}).slice(10, 20)
        data = cloud_pickle(part)
        assert len(data) < 20_000
        assert pickle.loads(data).equals(part)
