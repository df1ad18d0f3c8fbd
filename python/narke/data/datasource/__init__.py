"""Data sources (what read tasks there are) and sinks (what is done with each block)."""

from typing import Any

from narke._private.lazy_names import homes_of, lazy_names

_NAMES = {
    "datasink": "Datasink DummyOutputDatasink WriteResult WriteReturnType",
    "datasource": "Datasource RandomIntRowDatasource ReadTask Reader",
    "delta_sharing": "DeltaSharingDatasource",
    "file_based_datasource": "FileBasedDatasource FileShuffleConfig",
    "file_datasink": "BlockBasedFileDatasink RowBasedFileDatasink SaveMode",
    "file_meta_provider": "BaseFileMetadataProvider DefaultFileMetadataProvider FileMetadataProvider",
    "filename_provider": "FilenameProvider",
    "lerobot": "LeRobotDatasource",
    "mcap": "MCAPDatasource TimeRange",
    "partitioning": "PartitionStyle Partitioning PathPartitionFilter PathPartitionParser",
}
Connection = Any
_HOMES = homes_of(_NAMES)
__all__ = sorted([*_HOMES, "Connection"])
__getattr__ = lazy_names(__name__, _HOMES, modules=True)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
