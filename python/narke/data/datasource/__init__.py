"""Data sources (what read tasks there are) and sinks (what is done with each block)."""

from typing import Any

from narke.data.lazy_names import lazy_names

_NAMES = {
    "datasink": "Datasink DummyOutputDatasink WriteResult WriteReturnType",
    "datasource": "Datasource RandomIntRowDatasource ReadTask Reader",
    "delta_sharing": "DeltaSharingDatasource",
    "file_based_datasource": "FileBasedDatasource FileShuffleConfig",
    "file_datasink": "BlockBasedFileDatasink RowBasedFileDatasink SaveMode",
    "file_meta_provider": "BaseFileMetadataProvider DefaultFileMetadataProvider FileMetadataProvider",
    "filename_provider": "FilenameProvider",
    "mcap": "MCAPDatasource TimeRange",
    "partitioning": "PartitionStyle Partitioning PathPartitionFilter PathPartitionParser",
}
Connection = Any
__all__, __getattr__ = lazy_names(__name__, _NAMES)
__all__ = sorted([*__all__, "Connection"])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
