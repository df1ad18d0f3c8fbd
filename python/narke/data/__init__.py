"""Datasets: lazy, streaming, vectorised pipelines over Arrow blocks in the object store."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ActorPoolStrategy": "compute",
    "DataContext": "context",
    "DataIterator": "iterator",
    "Dataset": "dataset",
    "DatasetContext": "context",
    "DatasetIterator": "iterator",
    "DatasetSummary": "stats",
    "Datasource": "datasource",
    "ExecutionOptions": "context",
    "ExecutionResources": "context",
    "MaterializedDataset": "dataset",
    "NodeIdStr": "context",
    "Preprocessor": "preprocessor",
    "ReadTask": "datasource",
    "SaveMode": "datasource.file_datasink",
    "Schema": "dataset",
    "BlockBasedFileDatasink": "datasource.file_datasink",
    "RowBasedFileDatasink": "datasource.file_datasink",
    "Datasink": "datasource.datasink",
    "TaskPoolStrategy": "compute",
    "from_arrow": "read_api",
    "from_arrow_refs": "read_api",
    "from_blocks": "read_api",
    "from_daft": "_read_tables",
    "from_dask": "_read_tables",
    "from_huggingface": "_read_tables",
    "from_modin": "_read_tables",
    "from_spark": "_read_tables",
    "from_tf": "_read_tables",
    "from_torch": "_read_tables",
    "read_clickhouse": "_read_tables",
    "read_delta": "_read_tables",
    "read_iceberg": "_read_tables",
    "read_lance": "_read_tables",
    "read_mongo": "_read_tables",
    "read_sql": "_read_tables",
    "from_items": "read_api",
    "from_numpy": "read_api",
    "from_numpy_refs": "read_api",
    "from_pandas": "read_api",
    "from_pandas_refs": "read_api",
    "range": "read_api",
    "range_tensor": "read_api",
    "read_audio": "_read_files",
    "read_avro": "_read_files",
    "read_orc": "_read_files",
    "read_tfrecords": "_read_files",
    "read_videos": "_read_files",
    "read_webdataset": "_read_files",
    "FileShuffleConfig": "datasource.file_based_datasource",
    "read_binary_files": "_read_files",
    "read_csv": "_read_files",
    "read_datasource": "read_api",
    "read_images": "_read_files",
    "read_json": "_read_files",
    "read_numpy": "_read_files",
    "read_parquet": "_read_files",
    "read_text": "_read_files",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"narke.data.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    if not name.startswith("_"):
        try:
            return importlib.import_module(f"narke.data.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"narke.data.{name}":
                raise
    raise AttributeError(f"narke.data has no {name!r}; what it has is in narke.data.__all__")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
