"""Packages between this program and the head: over the engine's own connection, in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["Ask", "download", "upload"]

Ask = Callable[..., dict[str, Any]]
_PIECE_BYTES = 4 << 20


def upload(ask: Ask, path: str, name: str) -> str:
    """Bring a package to the head unless it is there; returns its URI.

    Args:
        ask: asks the node: a control method's name and its fields.
        path: the package's file.
        name: its name, which stands for its content.

    Raises:
        ValueError: the head refuses it; the text says why.
    """
    if ask("package_size", name=name)["size"] < 0:
        size, offset = os.path.getsize(path), 0
        with open(path, "rb") as file:
            while True:
                piece = file.read(_PIECE_BYTES)
                last = offset + len(piece) >= size
                ask("package_put", name=name, offset=offset, data=piece, last=last)
                offset += len(piece)
                if last:
                    break
    return f"gcs://{name}"


def download(ask: Ask, name: str, path: str) -> None:
    """Fetch a package from the head into the file `path`.

    Raises:
        ValueError: it is not there.
    """
    size, offset = ask("package_size", name=name)["size"], 0
    if size < 0:
        raise ValueError(f"the package gcs://{name} was not uploaded, or is gone; submit the job again")
    with open(path, "wb") as file:
        while offset < size:
            piece = ask("package_get", name=name, offset=offset, size=_PIECE_BYTES)["data"]
            if not piece:
                raise ValueError(f"the package gcs://{name} ended after {offset} of {size} bytes")
            file.write(piece)
            offset += len(piece)
