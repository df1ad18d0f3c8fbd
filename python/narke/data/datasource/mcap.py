"""MCAP files of messages, through mcap."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from narke.data import blocks as blk
from narke.data.datasource.file_based_datasource import FileBasedDatasource
from narke.data.datasource.media import needed

MESSAGES = 4096


@dataclasses.dataclass
class TimeRange:
    """Nanoseconds from `start_time` to before `end_time`."""

    start_time: int
    end_time: int

    def __post_init__(self) -> None:
        if not 0 <= self.start_time < self.end_time:
            raise ValueError(
                f"TimeRange: 0 <= start_time < end_time must hold, not {self.start_time}, {self.end_time}"
            )


class MCAPDatasource(FileBasedDatasource):
    """Messages of MCAP files, a row each; needs mcap.

    Args:
        topics, message_types: names of those to read; by default all. time_range: `TimeRange`, or (start, end).
        include_metadata: add what is known of channel and schema. The rest: see `FileBasedDatasource`.
    """

    _FILE_EXTENSIONS = ["mcap"]

    def __init__(
        self,
        paths: Any,
        topics: Iterable[str] | None = None,
        time_range: Any = None,
        message_types: Iterable[str] | None = None,
        include_metadata: bool = True,
        **file_based_datasource_kwargs: Any,
    ):
        super().__init__(paths, **file_based_datasource_kwargs)
        needed("mcap.reader", "mcap", "reading MCAP")
        self._topics = None if topics is None else sorted(topics)
        self._types = None if message_types is None else set(message_types)
        self._times = TimeRange(*time_range) if isinstance(time_range, tuple) else time_range
        self._more = include_metadata

    def get_name(self) -> str:
        return "MCAP"

    def _read_stream(self, f: Any, path: str) -> Iterator[Any]:
        reader = needed("mcap.reader", "mcap", "reading MCAP")
        exceptions = needed("mcap.exceptions", "mcap", "reading MCAP")
        times = {} if self._times is None else dataclasses.asdict(self._times)
        found = reader.make_reader(io.BytesIO(f.read()))
        held: list[dict[str, Any]] = []
        try:
            for schema, channel, message in found.iter_messages(topics=self._topics, **times):
                if self._types is None or (schema is not None and schema.name in self._types):
                    held.append(self._row(schema, channel, message))
                if len(held) == MESSAGES:
                    yield blk.from_rows(held)
                    held = []
        except exceptions.McapError as error:
            raise ValueError(str(error) or type(error).__name__) from error
        yield blk.from_rows(held) if held else pa.table({})

    def _row(self, schema: Any, channel: Any, message: Any) -> dict[str, Any]:
        row = {
            "data": _decoded(channel, message),
            "topic": channel.topic,
            "log_time": message.log_time,
            "publish_time": message.publish_time,
            "sequence": message.sequence,
        }
        if self._more:
            row.update(channel_id=message.channel_id, message_encoding=channel.message_encoding)
            for name in ("name", "encoding", "data"):
                row[f"schema_{name}"] = None if schema is None else getattr(schema, name)
        return row


def _decoded(channel: Any, message: Any) -> Any:
    """The value of a message in JSON; else its bytes."""
    if channel.message_encoding != "json":
        return message.data
    try:
        return json.loads(message.data)
    except ValueError:
        return message.data
