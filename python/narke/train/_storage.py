"""Files of experiments on any filesystem: where they lie, and copying, reading and writing them.

A filesystem here is pyarrow's; one of fsspec is wrapped. Local folders are copied with the system's own calls. What is
written in one piece (`write_bytes`) appears whole or not at all: on a local disk by renaming, on object stores because
they have no partial objects.
"""

from __future__ import annotations

import errno
import os
import shutil
import urllib.parse
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow.fs

    from narke.train._checkpoint import Checkpoint
    from narke.train._config import SyncConfig

__all__ = [
    "StorageContext",
    "copy_folder",
    "delete",
    "delete_if_empty",
    "exists",
    "filesystem_and_path",
    "is_local",
    "list_folder",
    "make_folder",
    "read_bytes",
    "write_bytes",
]


def filesystem_and_path(path: str | os.PathLike, filesystem: Any = None) -> tuple[pyarrow.fs.FileSystem, str]:
    """The filesystem a path or URI lies on, and the path on it.

    Args:
        path: a local path (made absolute) or a URI; on a given filesystem, a path of it.
        filesystem: pyarrow's or fsspec's; None finds it from the URI.

    Raises:
        ValueError: no filesystem is known for the URI.
    """
    text = os.fspath(path)
    if filesystem is not None:
        return as_pyarrow(filesystem), strip_scheme(text)
    import pyarrow.fs

    if "://" not in text:
        return pyarrow.fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(text))
    scheme = text.split("://", 1)[0]
    if scheme == "file":
        return pyarrow.fs.LocalFileSystem(), urllib.parse.unquote(urllib.parse.urlparse(text).path)
    try:
        found, inner = pyarrow.fs.FileSystem.from_uri(text)
        return found, inner
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        return _from_fsspec(text, scheme, error)


def _from_fsspec(text: str, scheme: str, cause: Exception) -> tuple[pyarrow.fs.FileSystem, str]:
    import pyarrow.fs

    if scheme in ("s3", "gs", "gcs", "hdfs", "viewfs", "abfs", "abfss"):
        raise cause  # pyarrow knows the scheme: the address itself is at fault
    try:
        import fsspec

        found, inner = fsspec.core.url_to_fs(text)
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"no filesystem for {text!r}: install the fsspec package of {scheme}://, or pass storage_filesystem="
        ) from error
    return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(found)), inner


def as_pyarrow(filesystem: Any) -> pyarrow.fs.FileSystem:
    """The filesystem as one of pyarrow.

    Args:
        filesystem: pyarrow's or fsspec's.

    Raises:
        TypeError: it is neither.
    """
    import pyarrow.fs

    if isinstance(filesystem, pyarrow.fs.FileSystem):
        return filesystem
    if hasattr(filesystem, "protocol") and hasattr(filesystem, "open"):
        return pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem))
    raise TypeError(f"a storage_filesystem is one of pyarrow.fs or fsspec, not {type(filesystem).__name__}")


def strip_scheme(text: str) -> str:
    """The path without ``scheme://`` in front."""
    return text.split("://", 1)[1] if "://" in text else text


def is_local(filesystem: pyarrow.fs.FileSystem) -> bool:
    """Whether paths of the filesystem are paths of this machine."""
    import pyarrow.fs

    return isinstance(filesystem, pyarrow.fs.LocalFileSystem)


def copy_folder(
    source_fs: pyarrow.fs.FileSystem, source: str, target_fs: pyarrow.fs.FileSystem, target: str
) -> None:
    """Copy all files of a folder into another, which is made; files there of the same name are replaced.

    Raises:
        FileNotFoundError: there is no such source.
        OSError: a file cannot be read or written.
    """
    if not exists(source_fs, source):
        raise FileNotFoundError(f"there is no folder {source!r} on {source_fs.type_name} to copy from")
    if is_local(source_fs) and is_local(target_fs):
        shutil.copytree(source, target, dirs_exist_ok=True)
        return
    import pyarrow.fs

    make_folder(target_fs, target)
    pyarrow.fs.copy_files(source, target, source_filesystem=source_fs, destination_filesystem=target_fs)


def exists(filesystem: pyarrow.fs.FileSystem, path: str) -> bool:
    """Whether there is a file or folder."""
    import pyarrow.fs

    return filesystem.get_file_info(path).type != pyarrow.fs.FileType.NotFound


def delete(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Delete a file or folder with what is in it; nothing happens if there is none."""
    import pyarrow.fs

    kind = filesystem.get_file_info(path).type
    if kind == pyarrow.fs.FileType.Directory:
        filesystem.delete_dir(path)
    elif kind != pyarrow.fs.FileType.NotFound:
        filesystem.delete_file(path)


def delete_if_empty(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Delete a local folder if nothing is in it."""
    if not is_local(filesystem):
        return
    try:
        os.rmdir(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise


def make_folder(filesystem: pyarrow.fs.FileSystem, path: str) -> None:
    """Make a folder and those above it; nothing happens if it is there.

    Raises:
        OSError: it cannot be made; the text names it.
    """
    try:
        filesystem.create_dir(path, recursive=True)
    except OSError as error:
        raise OSError(
            f"cannot make the folder {path!r} on {filesystem.type_name} storage: {error}; choose a storage_path that "
            "this machine may write to"
        ) from error


def list_folder(filesystem: pyarrow.fs.FileSystem, path: str) -> list[str]:
    """The names in a folder, sorted; none if there is no such folder."""
    import pyarrow.fs

    chosen = pyarrow.fs.FileSelector(path, allow_not_found=True)
    return sorted(info.base_name for info in filesystem.get_file_info(chosen))


def read_bytes(filesystem: pyarrow.fs.FileSystem, path: str) -> bytes:
    """The contents of a file.

    Raises:
        FileNotFoundError: there is none.
    """
    with filesystem.open_input_stream(path) as stream:
        return stream.read()


def write_bytes(filesystem: pyarrow.fs.FileSystem, path: str, data: bytes) -> None:
    """Write a file so that readers see the old contents or the new ones, never a part.

    Raises:
        OSError: it cannot be written, for instance because the disk is full; the old file is still there.
    """
    if not is_local(filesystem):
        with filesystem.open_output_stream(path) as stream:
            stream.write(data)
        return
    draft = f"{path}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        if os.path.exists(draft):
            os.unlink(draft)


class StorageContext:
    """Where the files of one experiment, and of one trial in it, are.

    ``storage_path/experiment_dir_name[/trial_dir_name[/checkpoint_000003]]``. Plain data: it may be pickled and sent
    to workers.

    Args:
        storage_path: local path or URI.
        experiment_dir_name: folder of the experiment.
        sync_config: uploading of artifacts.
        storage_filesystem: pyarrow's or fsspec's; None finds it from `storage_path`.
        trial_dir_name: folder of the trial inside the experiment's.
        current_checkpoint_index: of the last checkpoint; -1 before the first.
    """

    def __init__(
        self,
        storage_path: str | os.PathLike,
        experiment_dir_name: str,
        sync_config: SyncConfig | None = None,
        storage_filesystem: Any = None,
        trial_dir_name: str | None = None,
        current_checkpoint_index: int = -1,
    ) -> None:
        from narke.train._config import SyncConfig

        self.custom_fs_provided = storage_filesystem is not None
        self.storage_filesystem, self.storage_fs_path = filesystem_and_path(storage_path, storage_filesystem)
        self.experiment_dir_name = experiment_dir_name
        self.trial_dir_name = trial_dir_name
        self.sync_config = sync_config or SyncConfig()
        self.current_checkpoint_index = current_checkpoint_index

    def __repr__(self) -> str:
        where = f"{self.storage_filesystem.type_name}, {self.experiment_fs_path!r}"
        return f"StorageContext({where}, trial={self.trial_dir_name!r})"

    @property
    def experiment_fs_path(self) -> str:
        """The experiment's folder, a path of `storage_filesystem`."""
        return _join(self.storage_fs_path, self.experiment_dir_name)

    @property
    def trial_fs_path(self) -> str:
        """The trial's folder; the experiment's if the trial's name is empty.

        Raises:
            RuntimeError: no trial is set.
        """
        if self.trial_dir_name is None:
            raise RuntimeError("this storage is an experiment's: it has no trial_dir_name yet")
        return (
            _join(self.experiment_fs_path, self.trial_dir_name)
            if self.trial_dir_name
            else self.experiment_fs_path
        )

    @property
    def checkpoint_dir_name(self) -> str:
        """The name of the current checkpoint's folder."""
        return self._make_checkpoint_dir_name(self.current_checkpoint_index)

    @property
    def checkpoint_fs_path(self) -> str:
        """The current checkpoint's folder."""
        return _join(self.trial_fs_path, self.checkpoint_dir_name)

    @property
    def experiment_driver_staging_path(self) -> str:
        """A local folder for files of the experiment on their way to the storage."""
        return os.path.join(self._session_path(), "driver_artifacts")

    @property
    def trial_driver_staging_path(self) -> str:
        """A local folder for files of the trial on their way to the storage."""
        return os.path.join(self.experiment_driver_staging_path, self.trial_dir_name or "")

    @property
    def trial_working_directory(self) -> str:
        """The local folder in which the trial's worker runs: the trial's own one if the storage is local."""
        return self.trial_fs_path if self._is_local() else self.trial_driver_staging_path

    def _is_local(self) -> bool:
        return is_local(self.storage_filesystem)

    def _session_path(self) -> str:
        from narke.train._scratch import session_folder

        return os.path.join(session_folder(), self.experiment_dir_name)

    def persist_current_checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """Copy a checkpoint's files into the current checkpoint's folder.

        Args:
            checkpoint: on any filesystem.

        Returns:
            the checkpoint in the storage.

        Raises:
            OSError: a file cannot be written; what was written of the folder is removed.
        """
        from narke.train._checkpoint import Checkpoint

        make_folder(self.storage_filesystem, self.trial_fs_path)
        target = self.checkpoint_fs_path
        try:
            copy_folder(checkpoint.filesystem, checkpoint.path, self.storage_filesystem, target)
        except OSError:
            delete(self.storage_filesystem, target)
            raise
        return (
            type(checkpoint)(target, self.storage_filesystem)
            if isinstance(checkpoint, Checkpoint)
            else checkpoint
        )

    def persist_artifacts(self, force: bool = False) -> None:
        """Copy what the trial wrote into its working folder to its folder in the storage, if that is asked for.

        Args:
            force: whatever `sync_config` says.
        """
        if self._is_local():
            return  # they are there
        here = self.trial_working_directory
        if (force or self.sync_config.sync_artifacts) and os.path.isdir(here) and os.listdir(here):
            import pyarrow.fs

            copy_folder(pyarrow.fs.LocalFileSystem(), here, self.storage_filesystem, self.trial_fs_path)

    @staticmethod
    def get_experiment_dir_name(run_obj: Any) -> str:
        """A folder name for an experiment of this trainable, with the time.

        Args:
            run_obj: a trainable, or its name.
        """
        from narke.train._naming import trainable_name

        return f"{trainable_name(run_obj)}_{datetime.now():%Y-%m-%d_%H-%M-%S}"

    @staticmethod
    def _make_checkpoint_dir_name(index: int) -> str:
        return f"checkpoint_{index:06d}"

    def _update_checkpoint_index(self, metrics: dict[str, Any]) -> None:
        self.current_checkpoint_index += 1


def _join(*parts: str) -> str:
    return "/".join(part.rstrip("/") if at < len(parts) - 1 else part for at, part in enumerate(parts))
