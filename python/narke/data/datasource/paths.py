"""From what a user calls paths to files: local paths, URIs, folders."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NamedTuple
from urllib.parse import unquote

from pyarrow import fs


class File(NamedTuple):
    """A file: path in its filesystem, bytes, and the values in its folders' names (``year=2020``)."""

    path: str
    size: int
    partition: tuple[tuple[str, str], ...] = ()


def resolve(path: str, filesystem: Any) -> tuple[fs.FileSystem, str]:
    """The filesystem of a path or URI, and the path in it.

    Args:
        filesystem: pyarrow or fsspec filesystem, or None to go by the path.
    """
    if filesystem is not None:
        return _wrapped(filesystem), path.split("://", 1)[-1]
    if "://" in path and not path.startswith(("local://", "file://")):
        return fs.FileSystem.from_uri(path)
    plain = path.removeprefix("local://").removeprefix("file://")
    return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(plain))


def _wrapped(filesystem: Any) -> fs.FileSystem:
    if isinstance(filesystem, fs.FileSystem):
        return filesystem
    return fs.PyFileSystem(fs.FSSpecHandler(filesystem))


def as_list(paths: Any) -> list[str]:
    """One path or several as a list of strings.

    Raises:
        ValueError: there is none.
    """
    if isinstance(paths, (str, os.PathLike)):
        paths = [paths]
    found = [os.fspath(p) for p in paths]
    if not found:
        raise ValueError("give at least one path to read")
    return found


def expand(
    paths: list[str],
    filesystem: Any,
    extensions: Iterable[str] | None,
    ignore_missing: bool,
    partitioned: bool,
) -> tuple[fs.FileSystem, list[File]]:
    """The files that paths mean; folders give what is in them, in order of name.

    Args:
        extensions: endings (without dot) of the files to take; None takes all.
        ignore_missing: leave out paths that do not exist.
        partitioned: read values from folder names.

    Raises:
        FileNotFoundError: a path does not exist. ValueError: there is no file with such an ending.
    """
    found: list[File] = []
    for path in paths:
        system, inner = resolve(path, filesystem)
        found.extend(_files_at(system, inner, ignore_missing, partitioned))
    if extensions is not None:
        endings = tuple("." + e.lower().lstrip(".") for e in extensions)
        taken = [f for f in found if f.path.lower().endswith(endings)]
    else:
        taken = found
    if not taken and not ignore_missing:
        raise ValueError(
            f"no files to read in {paths}" + (f" with extensions {list(extensions)}" if extensions else "")
        )
    return system, taken


def _files_at(system: fs.FileSystem, path: str, ignore_missing: bool, partitioned: bool) -> list[File]:
    info = system.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        if ignore_missing:
            return []
        raise FileNotFoundError(f"there is no file or folder {path!r}")
    if info.type == fs.FileType.File:
        return [File(info.path, info.size, _partition(info.path, "") if partitioned else ())]
    inside = system.get_file_info(fs.FileSelector(path, recursive=True))
    files = [i for i in inside if i.type == fs.FileType.File and not _hidden(i.path[len(path) :])]
    files.sort(key=lambda i: i.path)
    return [File(i.path, i.size, _partition(i.path, path) if partitioned else ()) for i in files]


def _hidden(inner: str) -> bool:
    return any(part.startswith((".", "_")) for part in inner.split("/") if part)


def _partition(path: str, base: str) -> tuple[tuple[str, str], ...]:
    folders = path[len(base) :].split("/")[:-1]
    pairs = (folder.split("=", 1) for folder in folders if "=" in folder)
    return tuple((key, unquote(value)) for key, value in pairs)
