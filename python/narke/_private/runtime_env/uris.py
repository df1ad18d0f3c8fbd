"""Where a URI of a runtime environment leads: a folder on this machine."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import urllib.parse
from collections.abc import Callable
from typing import BinaryIO

from narke._private import packages
from narke._private.runtime_env.cache import Cache, content_key

__all__ = ["Places", "bring", "fetch"]

_ARCHIVES = (".zip", ".whl", ".jar", ".tar.gz", ".tgz", ".tar.xz")
_TIMEOUT_S = 60.0


class Places:
    """Where packages come from and go.

    Args:
        session_dir: the node's session; packages of the head lie in it.
        download: fetches a package of the head into a file; raises ValueError when there is none.
    """

    def __init__(self, session_dir: str, download: Callable[[str, str], None]) -> None:
        self.session_dir = session_dir
        self.download = download

    def cache(self, kind: str) -> Cache:
        """The folders of a kind of this session."""
        return Cache(os.path.join(self.session_dir, "runtime_resources"), kind)


def bring(uri: str, places: Places, cache: Cache, field: str) -> str:
    """The local folder of what a URI or path names: put where the module path or working directory is to be.

    Args:
        uri: a directory of this machine, or the URI of an archive.
        places: where packages come from.
        cache: where they are unpacked.
        field: named in errors.

    Raises:
        ValueError, OSError: it cannot be brought.
    """
    parts = urllib.parse.urlsplit(uri)
    if not parts.scheme:
        folder = os.path.abspath(os.path.expanduser(uri))
        if not os.path.isdir(folder):
            raise ValueError(
                f"{field}: {uri!r} is not a directory of this machine; give a local one to the client"
            )
        return folder
    if not parts.path.endswith(_ARCHIVES) and not parts.netloc.endswith(_ARCHIVES):
        raise ValueError(f"{field}: {uri!r}: a remote URI must name one of {', '.join(_ARCHIVES)}")
    name = os.path.basename(parts.netloc if parts.scheme == "gcs" else parts.path)
    key = name.removesuffix(".zip") if parts.scheme == "gcs" else content_key(uri)
    return cache.use(key, lambda target: _unpack(uri, name, target, places))


def _unpack(uri: str, name: str, target: str, places: Places) -> None:
    with tempfile.TemporaryDirectory(dir=os.path.dirname(target)) as folder:
        file = os.path.join(folder, name)
        fetch(uri, file, places)
        if name.endswith(".whl"):
            from narke._private.runtime_env import interpreters

            interpreters.install_wheel(file, target)
        else:
            packages.unpack(file, target, strip_single_folder=not uri.startswith("gcs://"))


def fetch(uri: str, to: str, places: Places) -> None:
    """Bring the file that a URI names.

    Raises:
        ValueError, OSError: it is not there, or nothing here reads such URIs.
    """
    parts = urllib.parse.urlsplit(uri)
    if parts.scheme == "gcs":
        own = os.path.join(places.session_dir, "packages", os.path.basename(parts.netloc))
        if os.path.isfile(own):
            os.utime(own)  # used now: others are removed first
            shutil.copyfile(own, to)
        else:
            places.download(os.path.basename(parts.netloc), to)
    elif parts.scheme == "file":
        shutil.copyfile(urllib.parse.unquote(parts.path), to)
    elif parts.scheme in ("http", "https"):
        from urllib import request

        with request.urlopen(uri, timeout=_TIMEOUT_S) as source, open(to, "wb") as out:
            _copy(source, out, uri)
    else:
        _fetch_by_fsspec(uri, to)


def _fetch_by_fsspec(uri: str, to: str) -> None:
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(f"{uri!r} needs the package fsspec on every node") from error
    try:
        opened = fsspec.open(uri, "rb")
    except ImportError as error:
        raise ValueError(f"{uri!r}: {error}") from error
    with opened as source, open(to, "wb") as out:
        _copy(source, out, uri)


def _copy(source: BinaryIO, out: BinaryIO, uri: str) -> None:
    copied = 0
    while piece := source.read(1 << 20):
        copied += len(piece)
        if copied > packages.MAX_REMOTE_BYTES:
            with contextlib.suppress(OSError):
                out.truncate(0)
            raise ValueError(f"{uri!r} is larger than {packages.MAX_REMOTE_BYTES >> 30} GiB")
        out.write(piece)
