"""A function over batches as a preprocessor, as programs before Ray 2.7 have it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.data.preprocessor import Preprocessor

if TYPE_CHECKING:
    from narke.data.dataset import Dataset

FORMATS = ("pandas", "numpy")


class BatchMapper(Preprocessor):
    """Applies a function to batches; it learns nothing.

    Args:
        fn: from a batch to a batch. batch_format: what it is given: "pandas" or "numpy" (a dict of arrays).
        batch_size: rows of a batch; "default" or None: whole blocks.

    Raises:
        ValueError: there is no such format.
    """

    _is_fittable = False

    def __init__(
        self, fn: Callable[[Any], Any], batch_format: str | None, batch_size: int | str | None = "default"
    ):
        if batch_format not in FORMATS:
            raise ValueError(f"BatchMapper: batch_format must be one of {FORMATS}, not {batch_format!r}")
        self.fn, self.batch_format, self.batch_size = fn, batch_format, batch_size

    def preferred_batch_format(self) -> str:
        """See `Preprocessor.preferred_batch_format`."""
        return str(self.batch_format)

    def transform(self, ds: Dataset, *, batch_size: int | None = None, **options: Any) -> Dataset:
        """A changed dataset; see `Preprocessor.transform`. `batch_size` takes the place of its own."""
        own = None if self.batch_size == "default" else self.batch_size
        return super().transform(ds, batch_size=batch_size or own, **options)  # type: ignore[arg-type]

    def _changed(self, batch: Any) -> Any:
        return self.fn(batch)

    def __repr__(self) -> str:
        called = getattr(self.fn, "__name__", repr(self.fn))
        return f"BatchMapper(fn={called}, batch_format={self.batch_format!r}, batch_size={self.batch_size!r})"
