"""HTTP to a cluster's gateway, with the standard library alone."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

__all__ = ["HttpClient", "Reply"]

_TIMEOUT_S = 30.0
_PIECE_BYTES = 1 << 16


class Reply:
    """An answer: `status`, and the whole body as `data`."""

    def __init__(self, status: int, data: bytes) -> None:
        self.status = status
        self.data = data

    @property
    def text(self) -> str:
        """The body as text."""
        return self.data.decode("utf-8", errors="replace")

    def json(self) -> Any:
        """The body read as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.data)


class HttpClient:
    """Sends requests to one server.

    Args:
        base_url: ``http://host:port`` or ``https://...``, with an optional path in front of all others.
        headers: sent with every request.
        cookies: likewise.
        verify: True to check the server's certificate, False not to, or the path of a bundle of authorities.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, Any] | None = None,
        cookies: Mapping[str, Any] | None = None,
        verify: bool | str | None = True,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._url = urllib.parse.urlsplit(self.base_url)
        self.headers = {name: str(value) for name, value in (headers or {}).items()}
        if cookies:
            self.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        self._context = _context(verify) if self._url.scheme == "https" else None

    def request(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        file: BinaryIO | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Reply:
        """Send a request and read the whole answer.

        Args:
            method: GET, POST, ...
            path: with its query.
            body: sent as JSON unless None.
            file: its bytes are the body.
            timeout_s: for each step on the network.

        Raises:
            ConnectionError: the server is not there, or breaks off.
        """
        connection = self._send(method, path, body, file, timeout_s)
        try:
            answer = connection.getresponse()
            return Reply(answer.status, answer.read())
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def stream(self, path: str) -> Iterator[str]:
        """The pieces of a long answer's text, as they come.

        Raises:
            ConnectionError: the server is not there, or breaks off.
            RuntimeError: it refuses.
        """
        import codecs

        connection = self._send("GET", path, None, None, None)
        decode = codecs.getincrementaldecoder("utf-8")(errors="replace").decode
        try:
            answer = connection.getresponse()
            if answer.status != 200:
                text = answer.read().decode(errors="replace")
                raise RuntimeError(f"Request failed with status code {answer.status}: {text}.")
            while piece := answer.read1(_PIECE_BYTES):
                yield decode(piece)
        except (OSError, http.client.HTTPException) as error:
            raise self._lost(error) from error
        finally:
            connection.close()

    def _send(
        self, method: str, path: str, body: Any, file: BinaryIO | None, timeout_s: float | None
    ) -> http.client.HTTPConnection:
        headers = dict(self.headers)
        data: Any = file
        if body is not None:
            data = json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        elif file is not None:
            headers["Content-Length"] = str(_size_of(file))
        connection = self._connect(timeout_s)
        try:
            connection.request(method, self._url.path + path, body=data, headers=headers)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._lost(error) from error
        return connection

    def _connect(self, timeout_s: float | None) -> http.client.HTTPConnection:
        host, port = self._url.hostname or "localhost", self._url.port
        if self._context is not None:
            return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=self._context)
        return http.client.HTTPConnection(host, port, timeout=timeout_s)

    def _lost(self, error: BaseException) -> ConnectionError:
        return ConnectionError(f"Failed to connect to Ray at address: {self.base_url} ({error}).")


def _size_of(file: BinaryIO) -> int:
    at = file.tell()
    end = file.seek(0, 2)
    file.seek(at)
    return end - at


def _context(verify: bool | str | None) -> ssl.SSLContext:
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return ssl.create_default_context(cafile=verify if isinstance(verify, str) else None)
