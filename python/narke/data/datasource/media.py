"""Files that need a library of their own: Avro, ORC, audio, video."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import columns
from narke.data.datasource.files import Reader

AVRO_ROWS = 8192
VIDEO_FRAMES = 16


def needed(module: str, package: str, what: str) -> Any:
    """Import a library that only some sources need.

    Raises:
        ImportError: it is not installed; the text names the package.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{what} needs {package}: `pip install {package}`") from error


class AvroReader(Reader):
    """Avro container files, through fastavro."""

    name, growth = "Avro", 2.0

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        fastavro = needed("fastavro", "fastavro", "reading Avro")
        held: list[dict[str, Any]] = []
        for record in fastavro.reader(stream):
            held.append(record if isinstance(record, dict) else {"value": record})
            if len(held) == AVRO_ROWS:
                yield blk.from_rows(held)
                held = []
        if held:
            yield blk.from_rows(held)


class OrcReader(Reader):
    """ORC files, a block a stripe."""

    name, growth = "ORC", 3.0

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        from pyarrow import orc

        found = orc.ORCFile(pa.BufferReader(stream.read()))
        if not found.nstripes:
            yield found.schema.empty_table()
        for number in range(found.nstripes):
            yield pa.Table.from_batches([found.read_stripe(number)])


class AudioReader(Reader):
    """Sound files, through soundfile: "amplitude" (channels x frames, float32) and "sample_rate" (1/s)."""

    name, growth = "Audio", 4.0

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        soundfile = needed("soundfile", "soundfile", "reading audio")
        try:
            amplitude, rate = soundfile.read(io.BytesIO(stream.read()), always_2d=True, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise ValueError(str(error)) from error
        column = columns.to_arrow([np.ascontiguousarray(amplitude.T)])
        yield pa.table({"amplitude": column, "sample_rate": pa.array([rate])})


class VideoReader(Reader):
    """Video files, through PyAV, a row a frame: "frame" (height x width x RGB) and "frame_index".

    Args:
        timestamps: add "frame_timestamp", (start, end) in seconds. fps: frames to keep a second of video; all by
            default. size: (height, width) to scale to.
    """

    name, growth = "Video", 50.0

    def __init__(
        self, timestamps: bool = False, fps: float | None = None, size: tuple[int, int] | None = None
    ):
        self._timestamps, self._fps, self._size = timestamps, fps, size

    def read(self, stream: Any, path: str) -> Iterator[pa.Table]:
        av = needed("av", "av", "reading videos")
        try:
            with av.open(io.BytesIO(stream.read())) as container:
                yield from self._blocks(container)
        except av.error.FFmpegError as error:
            raise ValueError(str(error)) from error

    def _blocks(self, container: Any) -> Iterator[pa.Table]:
        held: list[dict[str, Any]] = []
        for row in self._rows(container):
            held.append(row)
            if len(held) == VIDEO_FRAMES:
                yield blk.from_rows(held)
                held = []
        if held:
            yield blk.from_rows(held)

    def _rows(self, container: Any) -> Iterator[dict[str, Any]]:
        rate = float(container.streams.video[0].average_rate or 0)
        due_s = 0.0
        for index, frame in enumerate(container.decode(video=0)):
            start_s = float(frame.time if frame.time is not None else index / rate if rate else index)
            if self._fps and start_s + 1e-9 < due_s:
                continue
            due_s += 1 / self._fps if self._fps else 0.0
            shape = {} if self._size is None else {"height": self._size[0], "width": self._size[1]}
            row = {"frame": frame.to_ndarray(format="rgb24", **shape), "frame_index": index}
            if self._timestamps:
                row["frame_timestamp"] = np.array([start_s, start_s + (1 / rate if rate else 0.0)])
            yield row
