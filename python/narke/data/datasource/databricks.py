"""Queries of Databricks' SQL warehouses, by their REST interface for statements.

See https://docs.databricks.com/api/workspace/statementexecution: a statement is begun, asked for until it has ended,
and its result lies in chunks of Arrow's stream format behind links that hold for some minutes.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import columns
from narke.data.block import BlockMetadata
from narke.data.datasource.datasource import Datasource, ReadTask

logger = logging.getLogger("narke.data")

ASK_S = 60.0
QUERY_S = 6 * 3600.0
LEAST_PAUSE_S, MOST_PAUSE_S = 0.05, 1.0  # between questions whether a statement has ended
UNDER_WAY = ("PENDING", "RUNNING")


class Workspace:
    """A Databricks workspace, and how to log in to it.

    Args:
        url: of the workspace; without a scheme, https. token: to log in with.
        credential_provider: object with `get_host()`, `get_token()` and `invalidate()`, in the place of both.
    """

    def __init__(self, url: str | None, token: str | None, credential_provider: Any = None):
        self._token, self._provider = token, credential_provider
        host = (credential_provider.get_host() if credential_provider else str(url)).rstrip("/")
        self.base_url = host if host.startswith(("http://", "https://")) else f"https://{host}"

    def token(self) -> str:
        """What to log in with now."""
        return self._provider.get_token() if self._provider else str(self._token)

    def asked(self, path: str, body: Any = None) -> dict[str, Any]:
        """The workspace's answer; a provider whose token has run out is asked for another, once.

        Args:
            path: below "/api/". body: to send; None asks without one.

        Raises:
            ValueError: it gives none.
        """
        import urllib.error
        import urllib.request

        for attempt in range(2):
            data = None if body is None else json.dumps(body).encode()
            headers = {"Authorization": f"Bearer {self.token()}", "Content-Type": "application/json"}
            request = urllib.request.Request(f"{self.base_url}/api/{path}", data, headers)
            try:
                with urllib.request.urlopen(request, timeout=ASK_S) as answer:
                    return json.loads(answer.read() or b"{}")
            except urllib.error.HTTPError as error:
                if error.code != 401 or attempt or self._provider is None:
                    said = error.read(500).decode(errors="replace")
                    raise ValueError(f"{self.base_url} does not tell of {path}: {error} {said}") from error
                self._provider.invalidate()
        raise AssertionError("unreachable")


def workspace(credential_provider: Any) -> Workspace:
    """The workspace of a provider; without one, that of the environment.

    Raises:
        ValueError: the environment names none.
    """
    if credential_provider is not None:
        return Workspace(None, None, credential_provider)
    missing = [name for name in ("DATABRICKS_TOKEN", "DATABRICKS_HOST") if not os.environ.get(name)]
    if missing:
        raise ValueError(
            f"set the environment variables {' and '.join(missing)}, or give credential_provider"
        )
    return Workspace(os.environ["DATABRICKS_HOST"], os.environ["DATABRICKS_TOKEN"])


class DatabricksTables(Datasource):
    """The rows that a statement gives. It runs when this is made; its chunks are read in tasks.

    Args:
        workspace: where. statement: as the interface takes it: the query, warehouse, catalog and schema.

    Raises:
        ValueError: the statement failed, or was cancelled. TimeoutError: it took longer than `QUERY_S`.
    """

    def __init__(self, workspace: Workspace, statement: dict[str, Any]):
        wanted = {"wait_timeout": "0s", "disposition": "EXTERNAL_LINKS", "format": "ARROW_STREAM"}
        self._workspace = workspace
        answer = workspace.asked("2.0/sql/statements/", {**statement, **wanted})
        self._id = str(answer["statement_id"])
        try:
            answer = self._ended(answer)
        except BaseException:
            workspace.asked(f"2.0/sql/statements/{self._id}/cancel", {})
            raise
        if answer["status"]["state"] != "SUCCEEDED":
            raise ValueError(f"the query {statement['statement']!r} did not succeed: {answer['status']}")
        self._manifest = answer["manifest"]
        if self._manifest.get("truncated"):
            logger.warning("the result of %r is cut off: it exceeds 100 GiB", statement["statement"])

    def _ended(self, answer: dict[str, Any]) -> dict[str, Any]:
        end, pause_s = time.monotonic() + QUERY_S, LEAST_PAUSE_S
        while answer["status"]["state"] in UNDER_WAY:
            if time.monotonic() > end:
                raise TimeoutError(
                    f"the statement {self._id} of {self._workspace.base_url} takes over {QUERY_S} s"
                )
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, MOST_PAUSE_S)
            answer = self._workspace.asked(f"2.0/sql/statements/{self._id}")
        return answer

    def get_name(self) -> str:
        return "DatabricksUC"

    def _chunks(self) -> list[dict[str, Any]]:
        return sorted(self._manifest.get("chunks") or [], key=lambda chunk: chunk["chunk_index"])

    def estimate_inmemory_data_size(self) -> int:
        return sum(chunk["byte_count"] for chunk in self._chunks())

    def get_read_tasks(
        self, parallelism: int, per_task_row_limit: int | None = None, data_context: Any = None
    ) -> list[ReadTask]:
        chunks = self._chunks()
        if not chunks:
            return [ReadTask(lambda: iter([pa.table({})]), BlockMetadata(0, 0, None))]
        groups = np.array_split(np.arange(len(chunks)), min(max(1, parallelism), len(chunks)))
        return [self._task([chunks[place] for place in group]) for group in groups]

    def _task(self, chunks: list[dict[str, Any]]) -> ReadTask:
        rows, size = (sum(chunk[name] for chunk in chunks) for name in ("row_count", "byte_count"))
        read = _Chunks(self._workspace, self._id, [chunk["chunk_index"] for chunk in chunks])
        return ReadTask(read, BlockMetadata(rows, size, None))


@dataclasses.dataclass
class _Chunks:
    """Reads chunks of a result."""

    workspace: Workspace
    statement: str
    numbers: list[int]

    def __call__(self) -> Iterator[pa.Table]:
        from urllib.request import urlopen

        for number in self.numbers:
            answer = self.workspace.asked(f"2.0/sql/statements/{self.statement}/result/chunks/{number}")
            # the link is signed and leads elsewhere: the token is not for whoever answers there
            with urlopen(answer["external_links"][0]["external_link"], timeout=ASK_S) as stream:
                table = pa.ipc.open_stream(stream.read()).read_all()
            columns.refuse_objects(table.schema, f"chunk {number} of statement {self.statement}")
            yield table
