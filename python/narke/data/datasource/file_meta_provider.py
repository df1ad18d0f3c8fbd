"""What finds the files that paths mean, for users who find them in a way of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from narke.data.block import BlockMetadata
from narke.data.datasource import paths as _paths


class FileMetadataProvider:
    """Base of what tells of some files; override `_get_block_metadata`."""

    def _get_block_metadata(self, paths: list[str], **kwargs: Any) -> BlockMetadata:
        raise NotImplementedError(f"{type(self).__name__} must define _get_block_metadata(paths)")

    def __call__(self, paths: list[str], **kwargs: Any) -> BlockMetadata:
        return self._get_block_metadata(paths, **kwargs)


class BaseFileMetadataProvider(FileMetadataProvider):
    """Base of what finds files, too; override `expand_paths`."""

    def expand_paths(
        self,
        paths: list[str],
        filesystem: Any,
        partitioning: Any = None,
        ignore_missing_paths: bool = False,
    ) -> Iterator[tuple[str, int | None]]:
        """(path, bytes) of each file that paths in a filesystem mean."""
        raise NotImplementedError(f"{type(self).__name__} must define expand_paths(paths, filesystem)")


class DefaultFileMetadataProvider(BaseFileMetadataProvider):
    """Folders are the files in them; bytes are those of the files."""

    def _get_block_metadata(self, paths: list[str], **kwargs: Any) -> BlockMetadata:
        """Of files of `rows_per_file` rows and `file_sizes` bytes, each of which may be None."""
        each, sizes = kwargs.get("rows_per_file"), kwargs.get("file_sizes") or [None]
        rows = None if each is None else each * len(paths)
        return BlockMetadata(rows, None if None in sizes else sum(sizes), None, input_files=tuple(paths))

    def expand_paths(
        self,
        paths: list[str],
        filesystem: Any,
        partitioning: Any = None,
        ignore_missing_paths: bool = False,
    ) -> Iterator[tuple[str, int | None]]:
        _, found = _paths.expand(paths, filesystem, None, ignore_missing_paths, partitioning)
        return ((file.path, file.size) for file in found)
