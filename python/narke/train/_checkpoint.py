"""Checkpoints: folders of files on some filesystem."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from narke.train._storage import copy_folder, exists, filesystem_and_path, is_local, read_bytes, write_bytes

if TYPE_CHECKING:
    import pyarrow.fs

__all__ = ["Checkpoint"]

_METADATA_FILE = ".metadata.json"
_DICT_FILE = "dict_checkpoint.pkl"
_PREPROCESSOR_FILE = "preprocessor.pkl"


class Checkpoint:
    """A folder on a local disk or any filesystem of pyarrow or fsspec. It is a name: making one copies nothing.

    The methods of the AIR time (`from_dict`, `to_dict`, `from_uri`, ...) work on such folders too.

    Args:
        path: local path or URI of the folder.
        filesystem: on which `path` lies; found from `path` if None.
        local_path, uri, data_dict: as in the AIR time, instead of `path`: a folder, a URI, or a dictionary.

    Raises:
        ValueError: not exactly one of them is given.
    """

    path: str
    filesystem: pyarrow.fs.FileSystem

    def __init__(
        self,
        path: str | os.PathLike | None = None,
        filesystem: Any = None,
        *,
        local_path: str | os.PathLike | None = None,
        data_dict: dict[str, Any] | None = None,
        uri: str | None = None,
    ) -> None:
        given = [each for each in (path, local_path, uri, data_dict) if each is not None]
        if len(given) != 1:
            raise ValueError("a Checkpoint is of one path (or local_path, uri, data_dict)")
        where: Any = given[0] if data_dict is None else _folder_of(data_dict)
        self.filesystem, self.path = filesystem_and_path(where, filesystem)
        self._uuid = uuid.uuid4()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(filesystem={self.filesystem.type_name}, path={self.path})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Checkpoint):
            return NotImplemented
        return self.path == other.path and self.filesystem.equals(other.filesystem)

    def __hash__(self) -> int:
        return hash((self.path, self.filesystem.type_name))

    def __fspath__(self) -> str:
        raise TypeError(
            "a Checkpoint is not a path: use `with checkpoint.as_directory() as path`, or checkpoint.path and "
            "checkpoint.filesystem"
        )

    @classmethod
    def from_directory(cls, path: str | os.PathLike) -> Any:
        """The checkpoint that a local folder is.

        Args:
            path: the folder.
        """
        return cls(path)

    def to_directory(self, path: str | os.PathLike | None = None) -> str:
        """Copy the checkpoint to a local folder.

        Args:
            path: where to; a new folder among the temporary ones if None.

        Returns:
            the folder.

        Raises:
            FileNotFoundError: the checkpoint is not there.
        """
        import pyarrow.fs

        target = os.fspath(path) if path is not None else self._temporary_folder()
        os.makedirs(target, exist_ok=True)
        copy_folder(self.filesystem, self.path, pyarrow.fs.LocalFileSystem(), target)
        return target

    @contextlib.contextmanager
    def as_directory(self) -> Iterator[str]:
        """The checkpoint as a local folder for the length of a ``with``; not to be written to.

        Yields:
            the checkpoint's own folder if it is local, else a copy that is removed at the end.
        """
        if is_local(self.filesystem):
            yield self.path
            return
        folder = tempfile.mkdtemp(prefix="checkpoint_tmp_")
        try:
            yield self.to_directory(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def get_metadata(self) -> dict[str, Any]:
        """What `set_metadata` stored with the checkpoint; {} if nothing."""
        file = f"{self.path}/{_METADATA_FILE}"
        if not exists(self.filesystem, file):
            return {}
        return json.loads(read_bytes(self.filesystem, file))

    def set_metadata(self, metadata: dict[str, Any]) -> None:
        """Store metadata with the checkpoint, in place of what there was.

        Args:
            metadata: what JSON can hold.
        """
        write_bytes(self.filesystem, f"{self.path}/{_METADATA_FILE}", json.dumps(metadata).encode())

    def update_metadata(self, metadata: dict[str, Any]) -> None:
        """Add to the stored metadata.

        Args:
            metadata: what JSON can hold; wins over what there was.
        """
        self.set_metadata({**self.get_metadata(), **metadata})

    # ---- as in the AIR time

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Any:
        """A checkpoint that holds a dictionary; its values are pickled into a new local folder.

        Args:
            data: any picklable values. The value of "_preprocessor" is what `get_preprocessor` gives.
        """
        return cls(_folder_of(data))

    def to_dict(self) -> dict[str, Any]:
        """The dictionary of `from_dict`; of another checkpoint, the bytes of its files by relative path."""
        from narke import cloudpickle

        file = f"{self.path}/{_DICT_FILE}"
        if exists(self.filesystem, file):
            return cloudpickle.loads(read_bytes(self.filesystem, file))
        with self.as_directory() as folder:
            return {name: _read(os.path.join(folder, name)) for name in _files_below(folder)}

    @classmethod
    def from_bytes(cls, data: bytes) -> Any:
        """The checkpoint whose `to_bytes` this is, in a new local folder."""
        from narke import cloudpickle

        folder = tempfile.mkdtemp(prefix="checkpoint_bytes_")
        for name, content in cloudpickle.loads(data).items():
            target = os.path.join(folder, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with open(target, "wb") as file:
                file.write(content)
        return cls(folder)

    def to_bytes(self) -> bytes:
        """All files of the checkpoint in one piece."""
        from narke import cloudpickle

        with self.as_directory() as folder:
            return cloudpickle.dumps(
                {name: _read(os.path.join(folder, name)) for name in _files_below(folder)}
            )

    @classmethod
    def from_uri(cls, uri: str) -> Any:
        """The checkpoint that lies at a URI."""
        return cls(uri)

    def to_uri(self, uri: str) -> str:
        """Copy the checkpoint to a URI.

        Returns:
            `uri`.
        """
        target_fs, target = filesystem_and_path(uri)
        copy_folder(self.filesystem, self.path, target_fs, target)
        return uri

    @classmethod
    def from_checkpoint(cls, other: Checkpoint) -> Any:
        """The same checkpoint as an object of this class."""
        return cls(other.path, other.filesystem)

    @property
    def uri(self) -> str | None:
        """Its URI: file://... of a local one, None where the filesystem's type names no scheme."""
        kind = self.filesystem.type_name
        if kind == "local":
            return f"file://{self.path}"
        scheme = {"s3": "s3", "gcs": "gs", "hdfs": "hdfs", "abfs": "abfs"}.get(kind) or kind.partition("+")[0]
        if kind.startswith("py::fsspec+"):
            scheme = kind.removeprefix("py::fsspec+")
        return f"{scheme}://{self.path}" if scheme.isalnum() else None

    def get_internal_representation(self) -> tuple[str, Any]:
        """("local_path" or "uri", its value)."""
        return ("local_path", self.path) if is_local(self.filesystem) else ("uri", self.uri)

    def get_preprocessor(self) -> Any:
        """The preprocessor stored with the checkpoint, or None."""
        from narke import cloudpickle

        file = f"{self.path}/{_PREPROCESSOR_FILE}"
        if exists(self.filesystem, file):
            return cloudpickle.loads(read_bytes(self.filesystem, file))
        if exists(self.filesystem, f"{self.path}/{_DICT_FILE}"):
            return self.to_dict().get("_preprocessor")
        return None

    def set_preprocessor(self, preprocessor: Any) -> None:
        """Store a preprocessor with the checkpoint.

        Args:
            preprocessor: what `get_preprocessor` shall give.
        """
        from narke import cloudpickle

        write_bytes(self.filesystem, f"{self.path}/{_PREPROCESSOR_FILE}", cloudpickle.dumps(preprocessor))

    def _temporary_folder(self) -> str:
        return os.path.join(tempfile.gettempdir(), f"checkpoint_tmp_{self._uuid.hex}")


def _folder_of(data: dict[str, Any]) -> str:
    """A new local folder with a pickled dictionary."""
    from narke import cloudpickle

    folder = tempfile.mkdtemp(prefix="checkpoint_dict_")
    with open(os.path.join(folder, _DICT_FILE), "wb") as file:
        cloudpickle.dump(data, file)
    return folder


def _files_below(folder: str) -> list[str]:
    found = []
    for parent, _, names in os.walk(folder):
        found += [os.path.relpath(os.path.join(parent, name), folder) for name in names]
    return sorted(found)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
