"""Storage that all nodes of a cluster reach, for objects that leave memory: what names it, and files in it.

A filesystem here is one of fsspec. Those that PyArrow has too (``s3``, ``gs``, ``abfs``...) are PyArrow's, wrapped,
unless ``storage_options`` ask for fsspec's own.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from typing import Any

__all__ = ["Storage", "describe", "is_uri"]

_ARROW = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs")
_PARAMS = ("uri", "buffer_size", "storage_options", "override_transport_params")
_HEADER = struct.Struct("<8sQQQ")  # magic, size, CRC-32, reserved
_MAGIC = b"nkspill1"
_CHUNK = 8 << 20


def is_uri(text: Any) -> bool:
    """Whether it names a filesystem other than this host's own."""
    return isinstance(text, str) and "://" in text


def describe(params: dict[str, Any], name: str) -> str:
    """The text that tells nodes where to spill to, checked.

    Args:
        params: ``uri`` (one or several; objects are spread over them), ``buffer_size`` of writes in bytes,
            ``storage_options`` for fsspec.
        name: of the cluster: its files lie below it.

    Raises:
        ValueError: a parameter is unknown or wrong, or no library here knows such a filesystem.
    """
    unknown = sorted(set(params) - set(_PARAMS))
    if unknown:
        raise ValueError(f"object_spilling_config: unknown params {unknown}; there are {list(_PARAMS)}")
    if params.get("override_transport_params"):
        raise ValueError(
            "object_spilling_config: override_transport_params is smart_open's; say storage_options of fsspec instead"
        )
    uris = params.get("uri")
    uris = [uris] if isinstance(uris, str) else uris
    if not isinstance(uris, list) or not uris or not all(isinstance(uri, str) and uri for uri in uris):
        raise ValueError(f"object_spilling_config: params.uri must be a URI or a list of them, got {uris!r}")
    size = params.get("buffer_size", 1 << 20)
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(
            f"object_spilling_config: params.buffer_size must be a number of bytes, got {size!r}"
        )
    options = params.get("storage_options") or {}
    if not isinstance(options, dict):
        raise ValueError(f"object_spilling_config: params.storage_options must be a dict, got {options!r}")
    whole = {"uris": [_below(uri, name) for uri in uris], "buffer_size": size, "options": options}
    Storage(whole)
    return json.dumps(whole)


def _below(uri: str, name: str) -> str:
    if not is_uri(uri):
        uri = "file://" + os.path.abspath(uri)
    path, mark, query = uri.partition("?")
    return f"{path.rstrip('/')}/narke_spilled_{name}{mark}{query}"


class Storage:
    """Files of objects below one or several URIs. Any thread may call it.

    Args:
        config: what `describe` gave, decoded.

    Raises:
        ValueError: no library here knows such a filesystem.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._roots = [_filesystem(uri, config["options"]) for uri in config["uris"]]
        self._buffer = config["buffer_size"]

    def _place(self, path: str) -> tuple[Any, str]:
        system, root = self._roots[zlib.crc32(path.encode()) % len(self._roots)]
        return system, f"{root}/{path}"

    def write(self, path: str, data: memoryview) -> None:
        """Make a file of an object's bytes.

        Raises:
            OSError: it cannot be written; what there is of it is removed.
        """
        system, place = self._place(path)
        header = _HEADER.pack(_MAGIC, len(data), zlib.crc32(data), 0)
        _make_folder(system, place)
        try:
            with system.open(place, "wb", block_size=max(self._buffer, 5 << 20)) as file:
                file.write(header)
                for start in range(0, len(data), _CHUNK):
                    file.write(data[start : start + _CHUNK])
        except BaseException:
            self.remove(path)
            raise

    def read(self, path: str, data: memoryview) -> None:
        """Fill `data` with an object's bytes.

        Raises:
            OSError: it cannot be read, or it is not what was written.
        """
        system, place = self._place(path)
        with system.open(place, "rb", block_size=_CHUNK) as file:
            size, checksum = _read_header(file)
            if size != len(data):
                raise OSError(f"{place} holds {size} bytes instead of {len(data)}")
            found = 0
            for start in range(0, size, _CHUNK):
                part = file.read(min(_CHUNK, size - start))
                data[start : start + len(part)] = part
                found = zlib.crc32(part, found)
        if found != checksum:
            raise OSError(f"{place} has changed since it was written (wrong checksum)")

    def size(self, path: str) -> int | None:
        """Bytes of the object in a file; None when there is no whole one.

        Raises:
            OSError: the storage cannot be asked.
        """
        system, place = self._place(path)
        try:
            there = system.info(place)["size"]
            if there < _HEADER.size:
                return None
            with system.open(place, "rb", block_size=_HEADER.size) as file:
                size, _ = _read_header(file)
        except FileNotFoundError:
            return None
        return size if there == size + _HEADER.size else None

    def remove(self, path: str) -> None:
        """Remove a file; that there is none is fine.

        Raises:
            OSError: it cannot be removed.
        """
        system, place = self._place(path)
        try:
            system.rm_file(place)
        except FileNotFoundError:
            pass

    def clear(self) -> None:
        """Remove everything of the cluster.

        Raises:
            OSError: something cannot be removed.
        """
        for system, root in self._roots:
            try:
                system.rm(root, recursive=True)
            except FileNotFoundError:
                pass


def _read_header(file: Any) -> tuple[int, int]:
    header = file.read(_HEADER.size)
    if len(header) != _HEADER.size or not header.startswith(_MAGIC):
        raise OSError("a file of spilled objects does not begin with its header")
    _, size, checksum, _ = _HEADER.unpack(header)
    return size, checksum


def _make_folder(system: Any, place: str) -> None:
    """Object stores have no folders; others want them to be there."""
    protocol = system.protocol if isinstance(system.protocol, (tuple, list)) else (system.protocol,)
    if not set(protocol) & {"s3", "s3a", "gs", "gcs", "abfs", "abfss"}:
        system.makedirs(place.rsplit("/", 1)[0], exist_ok=True)


def _filesystem(uri: str, options: dict[str, Any]) -> tuple[Any, str]:
    scheme = uri.partition("://")[0]
    if scheme == "memory":
        raise ValueError(f"{uri}: objects cannot be spilled to the memory of a process")
    try:
        if scheme in _ARROW and not options:
            return _of_arrow(uri)
        import fsspec  # type: ignore[import-untyped]

        system, path = fsspec.core.url_to_fs(uri, **options)
    except (ImportError, ValueError, OSError, TypeError) as error:
        raise ValueError(
            f"Objects cannot be spilled to {scheme}://: {error}. Install fsspec and its package for it on every node "
            "(pyarrow has S3 and others), or name another storage."
        ) from error
    return system, path.rstrip("/")


def _of_arrow(uri: str) -> tuple[Any, str]:
    try:
        from fsspec.implementations.arrow import ArrowFSWrapper  # type: ignore[import-untyped]
        from pyarrow import fs
    except ImportError:
        import fsspec

        return fsspec.core.url_to_fs(uri)
    system, path = fs.FileSystem.from_uri(uri)
    return ArrowFSWrapper(system), path.rstrip("/")
