"""Tables shared by the Delta Sharing protocol (https://github.com/delta-io/delta-sharing/blob/main/PROTOCOL.md)."""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from narke.data import columns
from narke.data.block import BlockMetadata
from narke.data.datasource import paths
from narke.data.datasource.datasource import Datasource, ReadTask
from narke.data.datasource.parquet import named

ASK_S = 60.0
_TYPES = {
    "byte": pa.int8(), "short": pa.int16(), "integer": pa.int32(), "long": pa.int64(), "float": pa.float32(),
    "double": pa.float64(), "boolean": pa.bool_(), "date": pa.date32(),
}  # fmt: skip


@dataclasses.dataclass
class Share:
    """Where a table is shared: the server, the token, and the table's three names."""

    endpoint: str
    token: str = dataclasses.field(repr=False)
    names: tuple[str, str, str] = ("", "", "")

    def asked(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """What the server says of the table, line by line.

        Raises:
            ValueError: it does not.
        """
        import urllib.error
        import urllib.request

        share, schema, table = (quote(name, safe="") for name in self.names)
        url = f"{self.endpoint.rstrip('/')}/shares/{share}/schemas/{schema}/tables/{table}/query"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        try:
            request = urllib.request.Request(url, json.dumps(body).encode(), headers)
            with urllib.request.urlopen(request, timeout=ASK_S) as answer:
                return [json.loads(line) for line in answer.read().splitlines() if line.strip()]
        except urllib.error.HTTPError as error:
            raise ValueError(f"the shared table {'.'.join(self.names)} is not given out: {error}") from error


def open_share(url: str) -> Share:
    """The share that "<profile file>#<share>.<schema>.<table>" means.

    Raises:
        ValueError: it is not of that form.
    """
    profile, _, name = url.rpartition("#")
    names = tuple(name.split("."))
    if not profile or len(names) != 3 or not all(names):
        raise ValueError(f"a shared table is called '<profile file>#<share>.<schema>.<table>', not {url!r}")
    system, path = paths.resolve(profile, None)
    with system.open_input_stream(path) as stream:
        about = json.loads(stream.read())
    return Share(about["endpoint"], about["bearerToken"], names)  # type: ignore[arg-type]


class DeltaSharingDatasource(Datasource):
    """The Parquet files of a shared table, a task each.

    Args:
        url: see `open_share`. json_predicate_hints: which rows matter, for the server to leave out files.
        limit: rows that matter. version, timestamp: of the table.
    """

    def __init__(
        self,
        url: str,
        json_predicate_hints: str | None = None,
        limit: int | None = None,
        version: int | None = None,
        timestamp: str | None = None,
    ):
        self._limit = limit
        wanted = {
            "jsonPredicateHints": json_predicate_hints,
            "limitHint": limit,
            "version": version,
            "timestamp": timestamp,
        }
        self._body = {name: value for name, value in wanted.items() if value is not None}
        share = self.setup_delta_sharing_connections(url)
        lines = share.asked(self._body)
        about = next(line["metaData"] for line in lines if "metaData" in line)
        self._fields = {f["name"]: f["type"] for f in json.loads(about["schemaString"])["fields"]}
        self._files = [line["file"] for line in lines if "file" in line]

    def setup_delta_sharing_connections(self, url: str) -> Share:
        """The server, token and names of a shared table."""
        return open_share(url)

    def get_name(self) -> str:
        return "DeltaSharing"

    def estimate_inmemory_data_size(self) -> int:
        return sum(file["size"] for file in self._files)

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        known = {name: kind for name, kind in self._fields.items() if isinstance(kind, str)}
        reads = [
            SharedFile(f["url"], f.get("partitionValues") or {}, list(self._fields), known)
            for f in self._files
        ]
        if not reads:
            nothing = pa.table(
                {name: pa.nulls(0, _TYPES.get(known.get(name, ""), pa.string())) for name in self._fields}
            )
            return [ReadTask(lambda: iter([nothing]), BlockMetadata(0, 0, None))]
        sizes = (f["size"] for f in self._files)
        return [
            ReadTask(read, BlockMetadata(None, size, None)) for read, size in zip(reads, sizes, strict=True)
        ]


@dataclasses.dataclass
class SharedFile:
    """Reads one file, behind a URL that holds for a while, and adds what its partition says."""

    url: str = dataclasses.field(repr=False)
    partition: dict[str, str | None] = dataclasses.field(default_factory=dict)
    names: list[str] = dataclasses.field(default_factory=list)
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)

    def __call__(self) -> Iterator[pa.Table]:
        from urllib.request import urlopen

        place = self.url.split("?", 1)[0]
        with urlopen(self.url, timeout=ASK_S) as answer:
            data = answer.read()
        with named(place):
            table = pq.read_table(io.BytesIO(data), use_threads=False, partitioning=None)
        columns.refuse_objects(table.schema, place)
        for name, value in self.partition.items():
            kind = _TYPES.get(self.kinds.get(name, ""), pa.string())
            table = table.append_column(name, pa.repeat(pa.scalar(value), table.num_rows).cast(kind))
        yield table.select(self.names).replace_schema_metadata()
