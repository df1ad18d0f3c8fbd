"""TensorBoard's event files, written without protobuf.

A file is a sequence of records: length (8 bytes, little-endian), masked CRC-32C of it, the data, masked CRC-32C of the
data (TensorFlow, tensorflow/core/lib/io/record_writer.h). The data is an ``Event`` message (event.proto, summary.proto)
in protobuf's wire format.
"""

from __future__ import annotations

import functools
import json
import os
import platform
import struct
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from narke.tune._files import Appender

__all__ = ["EventWriter"]

_MASK = 0xA282EAD8


def _masked(data: bytes) -> bytes:
    from narke import _native

    crc = _native.bytes_crc32c(data)
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + _MASK) & 0xFFFFFFFF)


_SMALL = [bytes([value]) for value in range(0x80)]


def _varint(value: int) -> bytes:
    if 0 <= value < 0x80:
        return _SMALL[value]
    value &= (1 << 64) - 1
    parts = bytearray()
    while value > 0x7F:
        parts.append((value & 0x7F) | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _message(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _float(number: int, value: float) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _integer(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


class EventWriter:
    """Writes one event file; nothing is written before the first `flush`.

    Args:
        folder: where the file goes.
        suffix: at the end of its name.
    """

    def __init__(self, folder: str, suffix: str = "") -> None:
        name = f"events.out.tfevents.{int(time.time())}.{platform.node()}{suffix}"
        self.path = os.path.join(folder, name)
        self._file: Appender | None = None
        self._buffer = [self._record(_double(1, time.time()) + _message(3, b"brain.Event:2"))]

    @staticmethod
    def _record(event: bytes) -> bytes:
        length = struct.pack("<Q", len(event))
        return length + _masked(length) + event + _masked(event)

    def add(self, step: int, values: Iterable[bytes]) -> None:
        """Add values that `scalar`, `histogram` or `hparams` made, at a step."""
        summary = b"".join(_message(1, value) for value in values)
        event = _double(1, time.time()) + _integer(2, step) + _message(5, summary)
        self._buffer.append(self._record(event))

    def flush(self) -> None:
        """Append what was added to the file."""
        if self._buffer:
            data, self._buffer = b"".join(self._buffer), []
            self._file = self._file or Appender(self.path)
            self._file.write(data)

    def close(self) -> None:
        """Append what was added, and close the file."""
        self.flush()
        if self._file is not None:
            self._file.close()
            self._file = None


def scalar(tag: str, value: float) -> bytes:
    """The summary value of a number."""
    return _message(1, tag.encode()) + _float(2, float(value))


def histogram(tag: str, values: Any) -> bytes:
    """The summary value of a distribution.

    Args:
        tag: its name.
        values: numbers, at least one.
    """
    flat = np.asarray(values, dtype=float).ravel()
    counts, edges = np.histogram(flat, bins=min(30, max(1, flat.size)))
    limits = b"".join(struct.pack("<d", edge) for edge in edges[1:])
    buckets = b"".join(struct.pack("<d", count) for count in counts)
    data = _double(1, flat.min()) + _double(2, flat.max()) + _double(3, flat.size) + _double(4, flat.sum())
    data += _double(5, float((flat**2).sum())) + _message(6, limits) + _message(7, buckets)
    return _message(1, tag.encode()) + _message(5, data)


def hparams(values: dict[str, Any], metrics: Iterable[str], name: str) -> list[bytes]:
    """The summary values by which TensorBoard's HParams page knows a run.

    Args:
        values: hyperparameters: numbers, bools, texts.
        metrics: tags of the metrics.
        name: of the run.
    """
    begun = b"".join(
        _message(1, _message(1, key.encode()) + _message(2, _value(each))) for key, each in values.items()
    )
    begun += _message(4, name.encode())
    return [
        _declaration(tuple(values), tuple(metrics)),
        _plugin("_hparams_/session_start_info", _message(3, begun)),
        _plugin("_hparams_/session_end_info", _message(4, _integer(1, 1))),
    ]


@functools.lru_cache(maxsize=64)  # all trials of an experiment have the same
def _declaration(values: tuple[str, ...], metrics: tuple[str, ...]) -> bytes:
    """Which hyperparameters and metrics there are."""
    declared = b"".join(_message(3, _message(1, key.encode())) for key in values)
    declared += b"".join(_message(4, _message(1, _message(2, metric.encode()))) for metric in metrics)
    return _plugin("_hparams_/experiment", _message(2, declared))


def _value(value: Any) -> bytes:
    """A google.protobuf.Value."""
    if isinstance(value, bool):
        return _integer(4, int(value))
    if isinstance(value, (int, float)):
        return _double(2, float(value))
    return _message(3, (value if isinstance(value, str) else json.dumps(value, default=str)).encode())


def _plugin(tag: str, content: bytes) -> bytes:
    metadata = _message(1, _message(1, b"hparams") + _message(2, content))
    return _message(1, tag.encode()) + _message(9, metadata)
