"""What ingresses of former releases (`narke.serve.air_integrations`, `narke.serve.drivers`) make of a request."""

from __future__ import annotations

import io
from typing import Any

from fastapi import File, Request
from pydantic import BaseModel

__all__ = [
    "NdArray",
    "image_to_ndarray",
    "json_request",
    "json_to_multi_ndarray",
    "json_to_ndarray",
    "pandas_read_json",
    "starlette_request",
]


class NdArray(BaseModel):
    """An array as JSON: nested lists, and the shape and type it is to have."""

    array: list[float] | list[list[float]] | list[list[list[float]]] | list[list[list[list[float]]]]
    shape: list[int] | None = None
    dtype: str | None = None


def json_to_ndarray(payload: NdArray) -> Any:
    """The array."""
    import numpy

    array = numpy.array(payload.array)
    if payload.shape is not None:
        array = array.reshape(*payload.shape)
    return array if payload.dtype is None else array.astype(payload.dtype)


def json_to_multi_ndarray(payload: dict[str, NdArray]) -> dict[str, Any]:
    """Arrays by name."""
    return {name: json_to_ndarray(each) for name, each in payload.items()}


def starlette_request(request: Request) -> Request:
    """The request itself."""
    return request


async def json_request(request: Request) -> Any:
    """The body's JSON."""
    return await request.json()


def image_to_ndarray(img: bytes = File()) -> Any:
    """An uploaded image as an array of height, width and colour."""
    import numpy
    from PIL import Image

    return numpy.array(Image.open(io.BytesIO(img)))


async def pandas_read_json(raw_request: Request) -> Any:
    """The body as `pandas.read_json` reads it; its options come from the query."""
    import pandas

    body = await raw_request.body()
    return pandas.read_json(io.BytesIO(body), **dict(raw_request.query_params))
