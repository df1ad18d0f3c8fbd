"""Data sources (what read tasks there are) and sinks (what is done with each block)."""

from typing import Any

from narke.data.datasource.datasink import Datasink, DummyOutputDatasink, WriteResult, WriteReturnType
from narke.data.datasource.datasource import Datasource, RandomIntRowDatasource, Reader, ReadTask
from narke.data.datasource.delta_sharing import DeltaSharingDatasource
from narke.data.datasource.file_based_datasource import FileBasedDatasource, FileShuffleConfig
from narke.data.datasource.file_datasink import BlockBasedFileDatasink, RowBasedFileDatasink, SaveMode
from narke.data.datasource.file_meta_provider import (
    BaseFileMetadataProvider,
    DefaultFileMetadataProvider,
    FileMetadataProvider,
)
from narke.data.datasource.filename_provider import FilenameProvider
from narke.data.datasource.mcap import MCAPDatasource, TimeRange
from narke.data.datasource.partitioning import (
    Partitioning,
    PartitionStyle,
    PathPartitionFilter,
    PathPartitionParser,
)

Connection = Any

__all__ = [
    "BaseFileMetadataProvider",
    "BlockBasedFileDatasink",
    "Connection",
    "Datasink",
    "Datasource",
    "DefaultFileMetadataProvider",
    "DeltaSharingDatasource",
    "DummyOutputDatasink",
    "FileBasedDatasource",
    "FileMetadataProvider",
    "FileShuffleConfig",
    "FilenameProvider",
    "MCAPDatasource",
    "PartitionStyle",
    "Partitioning",
    "PathPartitionFilter",
    "PathPartitionParser",
    "RandomIntRowDatasource",
    "ReadTask",
    "Reader",
    "RowBasedFileDatasink",
    "SaveMode",
    "TimeRange",
    "WriteResult",
    "WriteReturnType",
]
