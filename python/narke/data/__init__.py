"""Datasets: lazy, streaming, vectorised pipelines over Arrow blocks in the object store."""

from __future__ import annotations

from narke._private import preloads
from narke._private.lazy_names import homes_of, lazy_names

_NAMES = {
    "_read_files": """
        read_audio read_avro read_binary_files read_csv read_images read_json read_mcap read_numpy read_orc
        read_parquet read_text read_tfrecords read_videos read_webdataset
    """,
    "_read_tables": """
        from_daft from_dask from_huggingface from_modin from_spark from_tf from_torch read_clickhouse
        read_databricks_tables read_delta read_delta_sharing_tables read_hudi read_iceberg read_kafka read_lance
        read_lerobot read_mongo read_snowflake read_sql read_unity_catalog read_zarr
    """,
    "catalog": "Catalog CatalogAccessMode DatabricksUnityCatalog ReaderFormat ResolvedSource",
    "compute": "ActorPoolStrategy TaskPoolStrategy",
    "context": "DataContext DatasetContext ExecutionOptions ExecutionResources NodeIdStr",
    "dataset": "Dataset MaterializedDataset Schema",
    "datasource": "Datasource ReadTask",
    "datasource.datasink": "Datasink",
    "datasource.file_based_datasource": "FileShuffleConfig",
    "datasource.file_datasink": "BlockBasedFileDatasink RowBasedFileDatasink SaveMode",
    "datasource.kafka": "KafkaAuthConfig",
    "datasource.table_sinks": "ClickHouseTableSettings SinkMode",
    "iterator": "DataIterator DatasetIterator",
    "mixing": "MixStoppingCondition",
    "preprocessor": "Preprocessor",
    "random_config": "RandomSeedConfig",
    "read_api": """
        from_arrow from_arrow_refs from_blocks from_items from_numpy from_numpy_refs from_pandas
        from_pandas_refs range range_tensor read_datasource
    """,
    "stats": "DatasetSummary",
}
_HOMES = homes_of(_NAMES)
__all__ = sorted(_HOMES)
__getattr__ = lazy_names(__name__, _HOMES, modules=True)

preloads.expect(preloads.DATA)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
