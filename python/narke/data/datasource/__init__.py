"""Data sources (what read tasks there are) and sinks (what is done with each block)."""

from narke.data.datasource.datasink import Datasink, DummyOutputDatasink, WriteResult, WriteReturnType
from narke.data.datasource.datasource import Datasource, RandomIntRowDatasource, Reader, ReadTask
from narke.data.datasource.file_based_datasource import FileBasedDatasource, FileShuffleConfig
from narke.data.datasource.file_datasink import BlockBasedFileDatasink, RowBasedFileDatasink, SaveMode
from narke.data.datasource.file_meta_provider import (
    BaseFileMetadataProvider,
    DefaultFileMetadataProvider,
    FileMetadataProvider,
)
from narke.data.datasource.filename_provider import FilenameProvider
from narke.data.datasource.partitioning import (
    Partitioning,
    PartitionStyle,
    PathPartitionFilter,
    PathPartitionParser,
)

__all__ = [
    "BaseFileMetadataProvider",
    "BlockBasedFileDatasink",
    "Datasink",
    "Datasource",
    "DefaultFileMetadataProvider",
    "DummyOutputDatasink",
    "FileBasedDatasource",
    "FileMetadataProvider",
    "FileShuffleConfig",
    "FilenameProvider",
    "PartitionStyle",
    "Partitioning",
    "PathPartitionFilter",
    "PathPartitionParser",
    "RandomIntRowDatasource",
    "ReadTask",
    "Reader",
    "RowBasedFileDatasink",
    "SaveMode",
    "WriteResult",
    "WriteReturnType",
]
