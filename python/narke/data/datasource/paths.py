"""From what a user calls paths to files: local paths, URIs, folders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from pyarrow import fs

from narke.data.datasource.partitioning import Partitioning, PathPartitionParser


class File(NamedTuple):
    """A file: path in its filesystem, bytes, and the values by key in its folders' names."""

    path: str
    size: int
    partition: tuple[tuple[str, Any], ...] = ()


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


def provided(
    provider: Any, paths: list[str], filesystem: Any, partitioning: Any, ignore_missing: bool
) -> tuple[fs.FileSystem, list[str]]:
    """The filesystem of paths, and the files in it that a provider of the user's finds there."""
    resolved = [resolve(path, filesystem) for path in paths]
    system = resolved[0][0]
    return system, [
        path
        for path, _ in provider.expand_paths([p for _, p in resolved], system, partitioning, ignore_missing)
    ]


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
    partitioning: Partitioning | None,
    partition_filter: Any = None,
) -> tuple[fs.FileSystem, list[File]]:
    """The files that paths mean; folders give what is in them, in order of name.

    Args:
        extensions: endings (without dot) of the files to take; None takes all.
        ignore_missing: leave out paths that do not exist.
        partitioning: what folder names mean; None: nothing. partition_filter: chooses among paths.

    Raises:
        FileNotFoundError: a path does not exist. ValueError: there is no file with such an ending.
    """
    found: list[File] = []
    for path in paths:
        system, inner = resolve(path, filesystem)
        found.extend(_files_at(system, inner, ignore_missing))
    if extensions is not None:
        endings = tuple("." + e.lower().lstrip(".") for e in extensions)
        taken = [f for f in found if f.path.lower().endswith(endings)]
    else:
        taken = found
    if partition_filter is not None:
        chosen = set(partition_filter([f.path for f in taken]))
        taken = [f for f in taken if f.path in chosen]
    taken = _with_values(taken, partitioning) if partitioning else taken
    if not taken and not ignore_missing:
        raise ValueError(
            f"no files to read in {paths}" + (f" with extensions {list(extensions)}" if extensions else "")
        )
    return system, taken


def _files_at(system: fs.FileSystem, path: str, ignore_missing: bool) -> list[File]:
    if any(sign in path for sign in "*?["):
        return _matching(system, path, ignore_missing)
    info = system.get_file_info(path)
    if info.type == fs.FileType.NotFound:
        if ignore_missing:
            return []
        raise FileNotFoundError(f"there is no file or folder {path!r}")
    if info.type == fs.FileType.File:
        return [File(info.path, info.size)]
    return _files_below(system, path)


def _files_below(system: fs.FileSystem, path: str) -> list[File]:
    inside = system.get_file_info(fs.FileSelector(path, recursive=True))
    files = [i for i in inside if i.type == fs.FileType.File and not _hidden(i.path[len(path) :])]
    files.sort(key=lambda i: i.path)
    return [File(i.path, i.size) for i in files]


def _matching(system: fs.FileSystem, pattern: str, ignore_missing: bool) -> list[File]:
    """Files whose paths match a pattern of ``*``, ``?``, ``[...]`` and ``**``, listed from its first plain folder."""
    if system.get_file_info(pattern).type == fs.FileType.File:
        return [File(pattern, system.get_file_info(pattern).size)]
    parts = pattern.split("/")
    plain = next(i for i, part in enumerate(parts) if any(sign in part for sign in "*?["))
    base = "/".join(parts[:plain]) or "/"
    wanted = re.compile(_as_regex(pattern))
    if system.get_file_info(base).type != fs.FileType.Directory:
        found: list[File] = []
    else:
        found = [f for f in _files_below(system, base) if wanted.fullmatch(f.path)]
    if not found and not ignore_missing:
        raise FileNotFoundError(f"no file matches {pattern!r}")
    return found


def _as_regex(pattern: str) -> str:
    made = []
    for part in re.split(r"(\*\*/?|\*|\?|\[[^]]*\])", pattern):
        simple = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}.get(part)
        is_set = part.startswith("[") and part.endswith("]")
        made.append(simple or (part.replace("[!", "[^") if is_set else re.escape(part)))
    return "".join(made)


def _with_values(files: list[File], partitioning: Partitioning) -> list[File]:
    """The files with what the names of their folders say, which is the same for all files of a folder."""
    parse = PathPartitionParser(partitioning)
    known: dict[str, tuple[tuple[str, Any], ...]] = {}
    for file in files:
        folder = file.path.rpartition("/")[0]
        if folder not in known:
            known[folder] = tuple(parse(file.path).items())
    if not any(known.values()):
        return files
    return [f._replace(partition=known[f.path.rpartition("/")[0]]) for f in files]


def _hidden(inner: str) -> bool:
    return "/." in f"/{inner}" or "/_" in f"/{inner}"
