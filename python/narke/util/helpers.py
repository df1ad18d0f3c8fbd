"""Iterate over the results of tasks in the order in which they finish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import narke
from narke.util.annotations import PublicAPI

__all__ = ["DEFAULT_BACKPRESSURE_SIZE", "DEFAULT_CHUNK_SIZE", "as_completed", "map_unordered"]

DEFAULT_CHUNK_SIZE = 10
DEFAULT_BACKPRESSURE_SIZE = 100


@PublicAPI(stability="alpha")
def as_completed(
    refs: Sequence[Any], *, chunk_size: int = DEFAULT_CHUNK_SIZE, yield_obj_refs: bool = False, **kwargs: Any
) -> Iterator[Any]:
    """Yield results in the order in which their tasks finish.

    Args:
        refs: the references to wait for.
        chunk_size: how many finished tasks one wait collects.
        yield_obj_refs: yield the references instead of their values.
        **kwargs: passed to `narke.wait` (``timeout``, ``fetch_local``).

    Raises:
        ValueError: for a chunk size below 1.
        Exception: what a task raised, when its value is due.
    """
    if chunk_size < 1:
        raise ValueError(f"as_completed: chunk_size must be at least 1, got {chunk_size}")
    return _drain(list(refs), chunk_size, yield_obj_refs, kwargs)


@PublicAPI(stability="alpha")
def map_unordered(
    fn: Any,
    items: Iterable[Any],
    *,
    backpressure_size: int | None = DEFAULT_BACKPRESSURE_SIZE,
    chunk_size: int = DEFAULT_CHUNK_SIZE,
    yield_obj_refs: bool = False,
    **kwargs: Any,
) -> Iterator[Any]:
    """Run a remote function over items and yield results in the order in which they finish.

    Args:
        fn: a remote function of one parameter.
        items: its arguments; read only as fast as results come back.
        backpressure_size: most tasks in flight; None for no bound.
        chunk_size: how many finished tasks one wait collects.
        yield_obj_refs: yield the references instead of their values.
        **kwargs: passed to `narke.wait`.

    Raises:
        ValueError: when `backpressure_size` is smaller than `chunk_size`.
    """
    if chunk_size < 1:
        raise ValueError(f"map_unordered: chunk_size must be at least 1, got {chunk_size}")
    if backpressure_size is not None and backpressure_size < chunk_size:
        raise ValueError(
            f"map_unordered: backpressure_size ({backpressure_size}) must not be smaller than "
            f"chunk_size ({chunk_size})"
        )
    return _submit_and_drain(fn, items, backpressure_size, chunk_size, yield_obj_refs, kwargs)


def _submit_and_drain(
    fn: Any,
    items: Iterable[Any],
    limit: int | None,
    chunk_size: int,
    yield_obj_refs: bool,
    kwargs: dict[str, Any],
) -> Iterator[Any]:
    pending: list[Any] = []
    for item in items:
        if limit is not None and len(pending) >= limit:
            batch, pending = _next_batch(pending, chunk_size, yield_obj_refs, kwargs)
            yield from batch
        pending.append(fn.remote(item))
    yield from _drain(pending, chunk_size, yield_obj_refs, kwargs)


def _drain(
    pending: list[Any], chunk_size: int, yield_obj_refs: bool, kwargs: dict[str, Any]
) -> Iterator[Any]:
    while pending:
        batch, pending = _next_batch(pending, chunk_size, yield_obj_refs, kwargs)
        yield from batch


def _next_batch(
    pending: list[Any], chunk_size: int, yield_obj_refs: bool, kwargs: dict[str, Any]
) -> tuple[Iterable[Any], list[Any]]:
    done, rest = narke.wait(pending, num_returns=min(chunk_size, len(pending)), **kwargs)
    return (done if yield_obj_refs else narke.get(done)), rest
