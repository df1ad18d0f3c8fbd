"""What replicas and the native proxy say to each other; its side is ``src/proxy/answer.h`` and ``exchange.cc``."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

__all__ = [
    "ACCEPT",
    "BINARY",
    "BUSY",
    "CHUNK",
    "CHUNKS",
    "CLOSE",
    "END",
    "FAILED",
    "FEED_BINARY",
    "FEED_BODY",
    "FEED_DISCONNECT",
    "FEED_LAST_BODY",
    "FEED_TEXT",
    "LEAVING",
    "MOST_BYTES",
    "START",
    "TAKEN",
    "TEXT",
    "WHOLE",
    "head_of",
    "pack",
    "pack_chunks",
    "parts_of",
]

WHOLE, START, CHUNK, END, BUSY, LEAVING, TAKEN, ACCEPT, TEXT, BINARY, CLOSE, FAILED, CHUNKS = range(1, 14)
FEED_BODY, FEED_LAST_BODY, FEED_TEXT, FEED_BINARY, FEED_DISCONNECT = range(5)

# Answers stay below what the engine sends inline.
MOST_BYTES = 64 << 10

_MORE_FOLLOWS, _CONTINUES = 1, 2  # the status of a message's part

_FIXED = struct.Struct("<BxHII").pack
_SIZE = struct.Struct("<I").pack


def pack(kind: int, status: int = 0, load: int = 0, head: bytes = b"", body: bytes = b"") -> bytes:
    """One answer.

    Args:
        kind: one of the constants above.
        status: HTTP status, a WebSocket's close code, or which part of a message it is.
        load: requests this replica is busy with.
        head: headers from `head_of`.
        body: bytes of the body, or of the message.
    """
    return _FIXED(kind, status, load, len(head)) + head + body


def pack_chunks(chunks: Iterable[bytes]) -> bytes:
    """Parts of the body, of which none is empty."""
    return _FIXED(CHUNKS, 0, 0, 0) + b"".join(
        [part for chunk in chunks for part in (_SIZE(len(chunk)), chunk)]
    )


def parts_of(message: bytes) -> Iterator[tuple[int, bytes]]:
    """A WebSocket's message as one answer after another: what stands for the status, and the bytes."""
    for at in range(0, max(1, len(message)), MOST_BYTES):
        is_last = at + MOST_BYTES >= len(message)
        piece = message if is_last and at == 0 else message[at : at + MOST_BYTES]
        yield (at > 0) * _CONTINUES + (not is_last) * _MORE_FOLLOWS, piece


def head_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Headers as the proxy reads them.

    Raises:
        ValueError: a name or value holds a NUL byte, which would break the list apart.
    """
    parts = [part for header in headers for part in header]
    head = b"\0".join(parts) + b"\0" if parts else b""
    if head.count(0) != len(parts):
        raise ValueError("a response header holds a NUL byte")
    return head
