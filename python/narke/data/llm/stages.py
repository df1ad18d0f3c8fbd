"""Stages: classes from lists of rows to lists of new columns, built once in each actor."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from narke.data import blocks as blk
from narke.data import columns
from narke.data.datasource.media import needed

ERROR = "__inference_error__"
PATIENCE = (408, 429, 502, 503, 504)
Rows = list[dict[str, Any]]


class OverRows:
    """A stage as a function over batches: rows with an error of an earlier stage pass by."""

    def __init__(self, cls: Any, kwargs: dict[str, Any]):
        self._stage, self._name = cls(**kwargs), cls.__name__
        self._reads = cls.reads

    def __call__(self, batch: dict[str, Any]) -> pa.Table:
        rows = list(blk.iter_rows(blk.from_batch(dict(batch))))
        missing = [name for name in self._reads if rows and name not in rows[0]]
        if missing:
            raise ValueError(
                f"{self._name} reads the columns {missing}, which are not among {sorted(rows[0])}: have preprocess "
                "give them"
            )
        live = [row for row in rows if not row.get(ERROR)]
        made = iter(self._stage([_plain(row) for row in live]) if live else ())
        return blk.from_rows([row if row.get(ERROR) else {**row, **next(made)} for row in rows])


def _plain(value: Any) -> Any:
    """Arrays inside rows as lists, as they were before they were columns."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    if isinstance(value, np.ndarray) and value.dtype.kind in "iufbO" and value.ndim == 1:
        return [_plain(part) for part in value.tolist()]
    return value


class HttpRequests:
    """Sends "payload", as JSON, or as a form where it holds bytes; the answer's JSON becomes "http_response"."""

    reads = ("payload",)

    def __init__(
        self,
        url: str,
        headers: dict[str, Any] | None,
        qps: int | None,
        max_retries: int,
        base_retry_wait_time_in_s: float,
        session_factory: Callable[[], Any] | None,
    ):
        self._aiohttp = needed("aiohttp", "aiohttp", "sending HTTP requests")
        self._url, self._headers, self._qps = url, dict(headers or {}), qps
        self._retries, self._wait_s = max_retries, base_retry_wait_time_in_s
        self._session = session_factory or self._aiohttp.ClientSession

    def __call__(self, rows: Rows) -> Rows:
        return asyncio.run(self._all(rows))

    async def _all(self, rows: Rows) -> Rows:
        begun_s = time.monotonic()
        async with self._session() as session:
            return await asyncio.gather(*(self._one(session, i, row, begun_s) for i, row in enumerate(rows)))

    async def _one(self, session: Any, index: int, row: dict[str, Any], begun_s: float) -> dict[str, Any]:
        if self._qps:
            await asyncio.sleep(max(0.0, begun_s + index / self._qps - time.monotonic()))
        for attempt in range(self._retries + 1):
            last = attempt == self._retries
            try:
                async with session.post(self._url, **self._request(row["payload"])) as answer:
                    if answer.status in PATIENCE and not last:
                        raise ConnectionError(f"status {answer.status}")
                    answer.raise_for_status()
                    return {"http_response": await answer.json(content_type=None)}
            except (ConnectionError, OSError, self._aiohttp.ClientConnectionError):
                if last:
                    raise
            await asyncio.sleep(self._wait_s * 2**attempt)
        raise AssertionError("unreachable")

    def _request(self, payload: Any) -> dict[str, Any]:
        if not isinstance(payload, dict) or not any(_is_file(value) for value in payload.values()):
            text = json.dumps(payload, default=lambda value: value.tolist())
            return {"data": text, "headers": {"Content-Type": "application/json", **self._headers}}
        form = self._aiohttp.FormData()
        for name, value in payload.items():
            part = value if isinstance(value, dict) and "content" in value else {"content": value}
            about = {"filename": part.get("filename", name), "content_type": part.get("content_type")}
            content = part["content"]
            plain = not _is_file(value)
            data: Any = content if isinstance(content, (str, bytes)) else json.dumps(content)
            form.add_field(name, data, **({} if plain else about))
        headers = {key: value for key, value in self._headers.items() if key.lower() != "content-type"}
        return {"data": form, "headers": headers}


def _is_file(value: Any) -> bool:
    return isinstance(value, bytes) or (isinstance(value, dict) and "content" in value)


class ServeRequests:
    """Calls the method "method" (by default the deployment itself) with "request_kwargs", or an object of class
    "dtype".

    What comes back becomes columns: the keys of a dict or the fields of a model; of a stream its first element; other
    values "response".
    """

    reads = ("request_kwargs",)

    def __init__(
        self,
        deployment_name: str,
        app_name: str,
        dtype_mapping: dict[str, Any] | None,
        should_continue_on_error: bool,
        request_timeout_s: float | None,
    ):
        from narke import serve

        self._handle = serve.get_deployment_handle(deployment_name, app_name)
        self._kinds, self._go_on, self._longest_s = (
            dtype_mapping or {},
            should_continue_on_error,
            request_timeout_s,
        )

    def __call__(self, rows: Rows) -> Rows:
        begun = [self._begin(row) for row in rows]
        return [self._end(answer) for answer in begun]

    def _begin(self, row: dict[str, Any]) -> Any:
        request = {name: value for name, value in row["request_kwargs"].items() if value is not None}
        kind = row.get("dtype")
        if kind is not None:
            if kind not in self._kinds:
                raise ValueError(f"dtype_mapping has no {kind!r}; it has {sorted(self._kinds)}")
            try:
                request = self._kinds[kind](**request)
            except (TypeError, ValueError) as error:
                return error
        method = row.get("method")
        return (getattr(self._handle, method) if method else self._handle).remote(request)

    def _end(self, answer: Any) -> dict[str, Any]:
        try:
            if isinstance(answer, Exception):
                raise answer
            made = _as_columns(answer.result(timeout_s=self._longest_s))
        except (TypeError, ValueError, TimeoutError) as error:
            if not self._go_on:
                raise
            return {ERROR: f"{type(error).__name__}: {error}"}
        return {**made, ERROR: ""} if self._go_on else made


def _as_columns(value: Any) -> dict[str, Any]:
    if hasattr(value, "model_dump"):
        value = value.model_dump()
    return value if isinstance(value, dict) else {"response": value}


class _OfTokenizer:
    def __init__(self, model: str):
        transformers = needed("transformers", "transformers", "tokenizing")
        self._tokenizer = transformers.AutoTokenizer.from_pretrained(model)


class ChatTemplates(_OfTokenizer):
    """From "messages" to "prompt"; a conversation whose last turn is the assistant's is continued."""

    reads = ("messages",)

    def __init__(self, model: str, template: str | None, template_kwargs: dict[str, Any] | None):
        super().__init__(model)
        self._template, self._kwargs = template, dict(template_kwargs or {})

    def __call__(self, rows: Rows) -> Rows:
        return [{"prompt": self._prompt(row["messages"])} for row in rows]

    def _prompt(self, messages: list[dict[str, Any]]) -> str:
        known = [{k: v for k, v in m.items() if v is not None} for m in messages]
        goes_on = known[-1]["role"] == "assistant"
        turn = {"continue_final_message": True} if goes_on else {"add_generation_prompt": True}
        return self._tokenizer.apply_chat_template(
            known, chat_template=self._template, tokenize=False, **{**turn, **self._kwargs}
        )


class Tokens(_OfTokenizer):
    """From "prompt" to "tokenized_prompt"."""

    reads = ("prompt",)

    def __call__(self, rows: Rows) -> Rows:
        found = self._tokenizer([row["prompt"] for row in rows])["input_ids"]
        return [{"tokenized_prompt": list(tokens)} for tokens in found]


class Texts(_OfTokenizer):
    """From "generated_tokens" to "generated_text"."""

    reads = ("generated_tokens",)

    def __call__(self, rows: Rows) -> Rows:
        found = self._tokenizer.batch_decode(
            [row["generated_tokens"] for row in rows], skip_special_tokens=True
        )
        return [{"generated_text": text} for text in found]


class TakeImages:
    """From "messages" with images (URLs, "data:" URLs, bytes) to "multimodal_data" (arrays) and messages of texts."""

    reads = ("messages",)

    def __init__(self, content_format: str, system_too: bool):
        if content_format not in ("string", "openai"):
            raise ValueError(
                f"chat_template_content_format must be 'string' or 'openai', not {content_format!r}"
            )
        self._parts, self._system_too = content_format == "openai", system_too

    def __call__(self, rows: Rows) -> Rows:
        return [self._row(row["messages"]) for row in rows]

    def _row(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        images: list[Any] = []
        turns = [{**message, "content": self._content(message, images)} for message in messages]
        return {"messages": turns, "multimodal_data": columns.object_array([{"image": images}])[0]}

    def _content(self, message: dict[str, Any], images: list[Any]) -> Any:
        parts = message["content"]
        if isinstance(parts, str):
            listed = self._parts and (message["role"] != "system" or self._system_too)
            return [{"type": "text", "text": parts}] if listed else parts
        texts = []
        for part in parts:
            if part["type"] == "text":
                texts.append({"type": "text", "text": part["text"]})
            else:
                images.append(_image(part.get("image") or part.get("image_url")))
                texts.append({"type": "image"})
        if self._parts:
            return texts
        return "\n".join(part["text"] for part in texts if part["type"] == "text")


def _image(source: Any) -> np.ndarray:
    from PIL import Image

    from narke.data.datasource.paths import resolve

    url = source["url"] if isinstance(source, dict) else source
    if isinstance(url, str) and url.startswith("data:"):
        data = base64.b64decode(url.split(",", 1)[1])
    elif isinstance(url, str) and url.startswith(("http://", "https://")):
        from urllib.request import urlopen

        with urlopen(url, timeout=60) as answer:
            data = answer.read()
    elif isinstance(url, str):
        system, path = resolve(url, None)
        with system.open_input_stream(path) as stream:
            data = stream.read()
    else:
        data = bytes(url)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
