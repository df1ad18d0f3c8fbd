"""TFRecord files of `tf.train.Example` messages, read and written without TensorFlow or protobuf.

A record is: length (8 bytes, little-endian), masked CRC-32C of it, data, masked CRC-32C of the data. Format:
https://www.tensorflow.org/tutorials/load_data/tfrecord and tensorflow/core/example/{example,feature}.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke import _native
from narke.data import blocks as blk
from narke.data.datasource.files import Reader

MASK = 0xA282EAD8
ROWS = 4096
_BYTES, _FLOATS, _INTS = 1, 2, 3  # fields of Feature
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5


def masked_crc(data: bytes) -> int:
    """TFRecord's checksum: a CRC-32C, turned and shifted so that checksums of checksums stay good."""
    crc = _native.bytes_crc32c(data)
    return ((crc >> 15 | crc << 17) + MASK) & 0xFFFFFFFF


def records(stream: Any, path: str) -> Iterator[bytes]:
    """The records of a file.

    Raises:
        ValueError: it ends too early, or a checksum is wrong.
    """
    place = 0
    while header := _exactly(stream, 12, path, place, may_end=True):
        length, crc = struct.unpack("<QI", header)
        if masked_crc(header[:8]) != crc:
            raise ValueError(f"the length of the record at byte {place} is damaged")
        body = _exactly(stream, length + 4, path, place)
        if masked_crc(body[:-4]) != struct.unpack("<I", body[-4:])[0]:
            raise ValueError(f"the record at byte {place} is damaged")
        yield body[:-4]
        place += 16 + length


def _exactly(stream: Any, size: int, path: str, place: int, may_end: bool = False) -> bytes:
    data = stream.read(size)
    if len(data) == size or (may_end and not data):
        return bytes(data)
    raise ValueError(f"{path} ends within the record at byte {place}")


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError("an Example holds a number of more than 64 bits")


def _fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """(number, wire type, value) of a message's fields."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, kind, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"an Example holds a field of the unknown kind {kind}")
        if at + size > len(data):
            raise ValueError("an Example ends within a field")
        yield tag >> 3, kind, data[at : at + size]
        at += size


def parse_example(record: bytes) -> dict[str, list[Any]]:
    """The features of an Example: lists of bytes, floats or integers by name.

    Raises:
        ValueError: the bytes are no Example.
    """
    found: dict[str, list[Any]] = {}
    try:
        for number, _, features in _fields(memoryview(record)):
            if number == 1:
                found.update(_entry(entry) for field, _, entry in _fields(features) if field == 1)
    except (IndexError, TypeError) as error:
        raise ValueError(f"a record is no tf.train.Example: {error}") from error
    return found


def _entry(entry: memoryview) -> tuple[str, list[Any]]:
    name, values = "", []
    for number, _, value in _fields(entry):
        if number == 1:
            name = bytes(value).decode()
        elif number == 2:
            values = [item for kind, _, packed in _fields(value) for item in _values(kind, packed)]
    return name, values


def _values(kind: int, data: memoryview) -> list[Any]:
    made: list[Any] = []
    for _, wire, value in _fields(data):
        if kind == _BYTES:
            made.append(bytes(value))
        elif kind == _FLOATS:
            made.extend(np.frombuffer(value, "<f4").tolist())
        elif wire == _VARINT:
            made.append(_signed(value))
        else:
            at = 0
            while at < len(value):
                number, at = _varint(value, at)
                made.append(_signed(number))
    return made


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


class TFRecordReader(Reader):
    """Examples: a column a feature; features with one value in all rows of a block are values, else lists."""

    name, growth = "TFRecords", 2.0

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        held: list[dict[str, list[Any]]] = []
        for record in records(stream, path):
            held.append(parse_example(record))
            if len(held) == ROWS:
                yield _table(held)
                held = []
        if held:
            yield _table(held)


def _table(rows: list[dict[str, list[Any]]]) -> pa.Table:
    names = list(dict.fromkeys(name for row in rows for name in row))
    made = {}
    for name in names:
        values = [row.get(name) for row in rows]
        if all(v is None or len(v) <= 1 for v in values):
            made[name] = pa.array([v[0] if v else None for v in values])
        else:
            made[name] = pa.array(values)
    return pa.table(made)


def _encoded_varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(number: int, data: bytes) -> bytes:
    return _encoded_varint(number << 3 | _LENGTH) + _encoded_varint(len(data)) + data


def make_example(row: dict[str, Any]) -> bytes:
    """The bytes of an Example of a row; nulls become features without values.

    Raises:
        TypeError: a value is neither bytes, string, number, nor a list of those.
    """
    entries = (
        _delimited(1, _delimited(1, name.encode()) + _delimited(2, _feature(name, v)))
        for name, v in row.items()
    )
    return _delimited(1, b"".join(entries))


def _feature(name: str, value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        value = value.reshape(-1).tolist()
    values = value if isinstance(value, list) else [] if value is None else [value]
    if not values:
        return b""
    if all(isinstance(v, (bytes, str)) for v in values):
        plain = (v.encode() if isinstance(v, str) else v for v in values)
        return _delimited(_BYTES, b"".join(_delimited(1, v) for v in plain))
    if all(isinstance(v, (bool, int, np.integer)) for v in values):
        return _delimited(_INTS, _delimited(1, b"".join(_encoded_varint(int(v)) for v in values)))
    if all(isinstance(v, (int, float, np.number)) for v in values):
        return _delimited(_FLOATS, _delimited(1, np.asarray(values, "<f4").tobytes()))
    raise TypeError(
        f"column {name!r} cannot be a TensorFlow feature: it holds {type(values[0]).__name__}, and only "
        "bytes, strings, numbers and lists of those can be"
    )


def write_examples(block: pa.Table, stream: Any) -> None:
    """Write a block's rows as records."""
    for row in blk.iter_rows(block):
        data = make_example(row)
        length = struct.pack("<Q", len(data))
        parts: Iterable[bytes] = (length, struct.pack("<I", masked_crc(length)), data)
        stream.write(b"".join(parts) + struct.pack("<I", masked_crc(data)))
