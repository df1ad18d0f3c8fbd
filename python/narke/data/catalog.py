"""Catalogs: from a table's name to where it is, and to what opens it."""

from __future__ import annotations

import abc
import dataclasses
import enum
import os
from typing import Any
from urllib.parse import quote

from narke.data.datasource.databricks import Workspace


class ReaderFormat(str, enum.Enum):
    """What a table is to be read as."""

    DELTA = "delta"
    PARQUET = "parquet"
    ICEBERG = "iceberg"


class CatalogAccessMode(str, enum.Enum):
    """What is to be done with a table."""

    READ = "read"
    WRITE = "write"

    def as_databricks_table_op(self) -> str:
        """How Unity Catalog calls it."""
        return "READ" if self is CatalogAccessMode.READ else "READ_WRITE"


@dataclasses.dataclass
class ResolvedSource:
    """Where a table is: a path with filesystem or storage options, or a name in an Iceberg catalog."""

    path: str | None = None
    filesystem: Any = None
    storage_options: dict[str, Any] | None = dataclasses.field(default=None, repr=False)
    catalog_kwargs: dict[str, Any] | None = dataclasses.field(default=None, repr=False)
    table_identifier: str | None = None
    data_format: ReaderFormat | None = None


class Catalog(abc.ABC):
    """Base of catalogs."""

    @abc.abstractmethod
    def resolve(
        self, table: str, *, reader: ReaderFormat, mode: CatalogAccessMode = CatalogAccessMode.READ
    ) -> ResolvedSource:
        """Where a table is, for a reader and what it is to do."""


class DatabricksUnityCatalog(Catalog):
    """Unity Catalog (https://docs.databricks.com/api/workspace/temporarytablecredentials): a table's place, and
    credentials
    for it that last an hour or so.

    Args:
        url: of the workspace. token: to log in with. credential_provider: object with `get_host()`, `get_token()` and
            `invalidate()`, in the place of both. region: of tables on S3.
    """

    url: str | None
    token: str | None
    credential_provider: Any
    region: str | None

    def __init__(
        self,
        *,
        url: str | None = None,
        token: str | None = None,
        credential_provider: Any = None,
        region: str | None = None,
    ):
        if credential_provider is None and not (url and token):
            raise ValueError("DatabricksUnityCatalog: give url and token, or credential_provider")
        self.url, self.token, self.credential_provider, self.region = url, token, credential_provider, region
        self._workspace = Workspace(url, token, credential_provider)
        self._base_url = self._workspace.base_url

    def __repr__(self) -> str:
        return f"DatabricksUnityCatalog(url={self._base_url!r})"

    def resolve(
        self, table: str, *, reader: ReaderFormat, mode: CatalogAccessMode = CatalogAccessMode.READ
    ) -> ResolvedSource:
        if ReaderFormat(reader) is ReaderFormat.ICEBERG:
            return self._iceberg(table)
        info = self._table(table)
        granted = self._credentials(info, mode)
        options = self._storage_options(granted)
        return ResolvedSource(
            path=granted["url"],
            filesystem=self._filesystem(granted),
            storage_options=options,
            data_format=_format_of(info),
        )

    def infer_format(self, table: str) -> ReaderFormat | None:
        """What a table is, as far as the catalog says."""
        return _format_of(self._table(table))

    def _iceberg(self, table: str) -> ResolvedSource:
        warehouse, _, name = table.partition(".")
        about = {
            "type": "rest",
            "uri": f"{self._base_url}/api/2.1/unity-catalog/iceberg-rest",
            "warehouse": warehouse,
            "token": self._workspace.token(),
            "header.X-Iceberg-Access-Delegation": "vended-credentials",
        }
        return ResolvedSource(catalog_kwargs=about, table_identifier=name, data_format=ReaderFormat.ICEBERG)

    def _table(self, table: str) -> dict[str, Any]:
        return self._asked(f"tables/{quote(table, safe='')}", None)

    def _credentials(self, info: dict[str, Any], mode: CatalogAccessMode) -> dict[str, Any]:
        wanted = {"table_id": info["table_id"], "operation": CatalogAccessMode(mode).as_databricks_table_op()}
        return self._asked("temporary-table-credentials", wanted)

    def _asked(self, path: str, body: Any) -> dict[str, Any]:
        return self._workspace.asked(f"2.1/unity-catalog/{path}", body)

    def _storage_options(self, granted: dict[str, Any]) -> dict[str, str] | None:
        """As Delta Lake's reader takes credentials."""
        aws, azure, gcp = (
            granted.get(key)
            for key in ("aws_temp_credentials", "azure_user_delegation_sas", "gcp_oauth_token")
        )
        if aws:
            keys = {"AWS_ACCESS_KEY_ID": "access_key_id", "AWS_SECRET_ACCESS_KEY": "secret_access_key",
                    "AWS_SESSION_TOKEN": "session_token"}  # fmt: skip
            region = {"AWS_REGION": self.region} if self.region else {}
            return {**{name: aws[key] for name, key in keys.items()}, **region}
        if azure:
            return {"AZURE_STORAGE_SAS_TOKEN": azure["sas_token"]}
        return {"GOOGLE_BEARER_TOKEN": gcp["oauth_token"]} if gcp else None

    def _filesystem(self, granted: dict[str, Any]) -> Any:
        from pyarrow import fs

        aws, gcp = granted.get("aws_temp_credentials"), granted.get("gcp_oauth_token")
        if aws:
            keys = {"access_key": aws["access_key_id"], "secret_key": aws["secret_access_key"]}
            endpoint = (
                {"endpoint_override": os.environ["AWS_ENDPOINT_URL"]}
                if os.environ.get("AWS_ENDPOINT_URL")
                else {}
            )
            return fs.S3FileSystem(**keys, session_token=aws["session_token"], region=self.region, **endpoint)
        if gcp:
            import datetime

            end = datetime.datetime.fromtimestamp(granted["expiration_time"] / 1000, datetime.timezone.utc)
            return fs.GcsFileSystem(access_token=gcp["oauth_token"], credential_token_expiration=end)
        return None


def _format_of(info: dict[str, Any]) -> ReaderFormat | None:
    name = str(info.get("data_source_format", "")).lower()
    uniform = (info.get("properties") or {}).get("delta.universalFormat.enabledFormats", "")
    if name == "delta" and "iceberg" in uniform.lower():
        return ReaderFormat.ICEBERG
    known = {kind.value: kind for kind in ReaderFormat}
    return known.get(name) or known.get(
        os.path.splitext(info.get("storage_location") or "")[1].lstrip(".").lower()
    )


def resolved(
    catalog: Any, table: str, reader: ReaderFormat, mode: CatalogAccessMode = CatalogAccessMode.READ
) -> ResolvedSource:
    """What a catalog says of a table.

    Raises:
        TypeError: it is no `Catalog`.
    """
    if not isinstance(catalog, Catalog):
        raise TypeError(f"catalog must be a narke.data.Catalog, not {catalog!r}")
    return catalog.resolve(table, reader=reader, mode=mode)
