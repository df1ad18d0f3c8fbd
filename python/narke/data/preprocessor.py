"""The interface of preprocessors: learn from one dataset, change others."""

from __future__ import annotations

import base64
import enum
import pickle
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from narke.data.dataset import Dataset


class PreprocessorNotFittedException(RuntimeError):
    """A preprocessor was asked to change data before it learned."""


class Preprocessor:
    """Base of preprocessors.

    A subclass defines `_fit(dataset)`, which gives what it learns (or sets `_is_fittable = False`), and
    `_transform_pandas(frame)` or `_transform_numpy(dict of arrays)`.
    """

    class FitStatus(enum.Enum):
        """Whether it has learned."""

        NOT_FITTABLE = "NOT_FITTABLE"
        NOT_FITTED = "NOT_FITTED"
        PARTIALLY_FITTED = "PARTIALLY_FITTED"
        FITTED = "FITTED"

    _is_fittable = True

    def fit_status(self) -> Preprocessor.FitStatus:
        """Whether it has learned."""
        if not self._is_fittable:
            return Preprocessor.FitStatus.NOT_FITTABLE
        return Preprocessor.FitStatus.FITTED if self.has_stats() else Preprocessor.FitStatus.NOT_FITTED

    def has_stats(self) -> bool:
        """Whether there is something learned."""
        return getattr(self, "stats_", None) is not None

    def get_input_columns(self) -> list[str]:
        """The columns that it reads; none where a subclass does not say."""
        return list(getattr(self, "columns", None) or [])

    def get_output_columns(self) -> list[str]:
        """The columns that it writes; none where a subclass does not say."""
        return list(getattr(self, "output_columns", None) or [])

    def fit(self, ds: Dataset) -> Preprocessor:
        """Learn from a dataset; what was learned before is forgotten. Returns itself."""
        if self._is_fittable:
            self.stats_ = self._fit(ds)
        return self

    def fit_transform(
        self,
        ds: Dataset,
        *,
        transform_num_cpus: float | None = None,
        transform_memory: float | None = None,
        transform_batch_size: int | None = None,
        transform_concurrency: int | None = None,
    ) -> Dataset:
        """Learn from a dataset and change it; the arguments are those of `transform`."""
        return self.fit(ds).transform(
            ds,
            batch_size=transform_batch_size,
            num_cpus=transform_num_cpus,
            memory=transform_memory,
            concurrency=transform_concurrency,
        )

    def transform(
        self,
        ds: Dataset,
        *,
        batch_size: int | None = None,
        num_cpus: float | None = None,
        memory: float | None = None,
        concurrency: int | None = None,
    ) -> Dataset:
        """A changed dataset; the arguments are those of `Dataset.map_batches`.

        Raises:
            PreprocessorNotFittedException: it has not learned.
        """
        self._check_fitted()
        return ds.map_batches(
            self._changed,
            batch_format=self.preferred_batch_format(),
            batch_size=batch_size,
            num_cpus=num_cpus,
            memory=memory,
            concurrency=concurrency,
        )

    def transform_batch(self, data: Any) -> Any:
        """A changed batch: a DataFrame for a DataFrame, a dict of arrays for such a dict."""
        from narke.data import blocks as blk

        self._check_fitted()
        wanted = self.preferred_batch_format()
        changed = blk.from_batch(self._changed(blk.to_batch(blk.from_batch(data), wanted)))
        return blk.to_batch(changed, "numpy" if isinstance(data, dict) else "pandas")

    def preferred_batch_format(self) -> str:
        """The form of batch that it works on."""
        return "pandas" if hasattr(self, "_transform_pandas") else "numpy"

    def serialize(self) -> str:
        """Itself as text."""
        return base64.b64encode(cloudpickle.dumps(self)).decode("ascii")

    @staticmethod
    def deserialize(serialized: str) -> Preprocessor:
        """The preprocessor that `serialize` made a text of. Read only texts that you trust: it is a pickle."""
        return pickle.loads(base64.b64decode(serialized))

    def _check_fitted(self) -> None:
        if self.fit_status() in (Preprocessor.FitStatus.NOT_FITTED, Preprocessor.FitStatus.PARTIALLY_FITTED):
            raise PreprocessorNotFittedException(
                f"call fit() or fit_transform() of {type(self).__name__} first"
            )

    def _changed(self, batch: Any) -> Any:
        if hasattr(self, "_transform_pandas"):
            return self._transform_pandas(batch)
        return self._transform_numpy(batch)  # type: ignore[attr-defined]

    def _fit(self, ds: Dataset) -> dict[str, Any]:
        """What it learns from a dataset."""
        raise NotImplementedError(f"{type(self).__name__} must define _fit, or set _is_fittable = False")


class SerializationFormat(enum.Enum):
    """What `SerializablePreprocessorBase.serialize` makes."""

    CLOUDPICKLE = "cloudpickle"
    PICKLE = "pickle"


_classes: dict[str, type[SerializablePreprocessorBase]] = {}


class SerializablePreprocessorBase(Preprocessor):
    """Base of preprocessors that are kept as bytes under a name and a version of their own, whatever their class is
    called.

    A subclass may choose what is kept by `_get_serializable_fields`, and take up what other versions kept by
    `_set_serializable_fields`. The bytes are pickles: read only those that you trust.
    """

    SerializationFormat = SerializationFormat
    MAGIC_CLOUDPICKLE = b"CPKL:"
    _class_id: str | None = None
    _version = 1

    @classmethod
    def set_preprocessor_class_id(cls, identifier: str) -> None:
        """Name the class in what is kept; by default it is its module and name."""
        cls._class_id = identifier
        _classes[identifier] = cls

    @classmethod
    def get_preprocessor_class_id(cls) -> str:
        """How the class is called in what is kept."""
        return cls.__dict__.get("_class_id") or f"{cls.__module__}.{cls.__qualname__}"

    @classmethod
    def set_version(cls, version: int) -> None:
        """Number the form of what is kept."""
        cls._version = version

    @classmethod
    def get_version(cls) -> int:
        """The number of the form of what is kept."""
        return cls._version

    def _get_serializable_fields(self) -> dict[str, Any]:
        """What is kept, but for what was learned."""
        return {name: value for name, value in vars(self).items() if name != "stats_"}

    def _set_serializable_fields(self, fields: dict[str, Any], version: int) -> None:
        """Take up what was kept by a version."""
        vars(self).update(fields)

    def serialize(self) -> bytes:  # type: ignore[override]
        """Itself as bytes."""
        kept = {
            "type": self.get_preprocessor_class_id(),
            "class": type(self),
            "version": self.get_version(),
            "fields": self._get_serializable_fields(),
            "stats": getattr(self, "stats_", None),
        }
        return self.MAGIC_CLOUDPICKLE + cloudpickle.dumps(kept)

    @staticmethod
    def deserialize(serialized: Any) -> Preprocessor:
        """The preprocessor that `serialize` made bytes (or `Preprocessor.serialize` a text) of.

        Raises:
            ValueError: they are not such bytes.
        """
        if isinstance(serialized, str):
            return Preprocessor.deserialize(serialized)
        magic = SerializablePreprocessorBase.MAGIC_CLOUDPICKLE
        if not serialized.startswith(magic):
            raise ValueError(
                f"these bytes are no preprocessor: they begin with {serialized[:8]!r}, not with {magic!r}"
            )
        kept = pickle.loads(serialized[len(magic) :])
        cls = _classes.get(kept["type"], kept["class"])
        made = cls.__new__(cls)
        made._set_serializable_fields(kept["fields"], kept["version"])
        if kept["stats"] is not None:
            made.stats_ = kept["stats"]
        return made
