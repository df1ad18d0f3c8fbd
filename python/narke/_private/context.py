"""What `init` returns."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from narke._private.versions import API_VERSION
from narke._version import __version__

__all__ = ["BaseContext", "RayContext"]


class BaseContext:
    """A connection that can be left: a context manager over `disconnect`."""

    dashboard_url: str | None
    python_version: str
    ray_version: str

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        self.disconnect()

    def disconnect(self) -> None:
        """Leave the cluster."""
        raise NotImplementedError


class RayContext(BaseContext, Mapping[str, Any]):
    """The facts of a connection; reading it like a dict gives `address_info` and is the older way.

    Attributes:
        address_info: addresses, paths and ids by name.
        dashboard_url: ``host:port`` of the dashboard; empty without one.
        python_version: version of this interpreter.
        ray_version: version of the API.
        ray_commit: revision of the engine.
    """

    def __init__(self, address_info: dict[str, Any]) -> None:
        self.dashboard_url = address_info.get("webui_url") or ""
        self.python_version = ".".join(str(part) for part in sys.version_info[:3])
        self.ray_version = API_VERSION
        self.ray_commit = f"narke-{__version__}"
        self.address_info = dict(address_info)

    def __getitem__(self, key: str) -> Any:
        if key == "dashboard_url" and key not in self.address_info:
            return self.dashboard_url
        _warn_old_way()
        return self.address_info[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.address_info)

    def __len__(self) -> int:
        return len(self.address_info)

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, RayContext) and self.address_info == other.address_info)

    def __hash__(self) -> int:
        return id(self)

    def disconnect(self) -> None:
        """Leave the cluster; ends it when this program started it."""
        from narke import _init

        _init.shutdown()

    def __repr__(self) -> str:
        return (
            f"RayContext(dashboard_url={self.dashboard_url!r}, python_version={self.python_version!r}, "
            f"ray_version={self.ray_version!r}, ray_commit={self.ray_commit!r})"
        )

    def _repr_html_(self) -> str:
        rows = {"Python version": self.python_version, "Ray version": self.ray_version}
        if self.dashboard_url:
            rows["Dashboard"] = f'<a href="http://{self.dashboard_url}">http://{self.dashboard_url}</a>'
        cells = "".join(f"<tr><td><b>{name}</b></td><td>{value}</td></tr>" for name, value in rows.items())
        return f"<table>{cells}</table>"


def _warn_old_way() -> None:
    warnings.warn(
        "Read .address_info of the context instead of the context itself.", DeprecationWarning, stacklevel=3
    )
