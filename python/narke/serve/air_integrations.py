"""A trained model behind HTTP, as former releases had it: "
"``PredictorDeployment.bind(XGBoostPredictor, checkpoint)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from narke.serve.api import deployment
from narke.serve.batching import batch
from narke.serve.drivers import SimpleSchemaIngress

__all__ = ["PredictorDeployment", "PredictorWrapper", "SimpleSchemaIngress"]


class PredictorWrapper(SimpleSchemaIngress):
    """Serves a `narke.train.predictor.Predictor`.

    Args:
        predictor_cls: its class, or where to import it from.
        checkpoint: what it is made from.
        http_adapter: how a request becomes an array, a dict of arrays or a data frame.
        batching_params: options of `narke.serve.batch`; False: each request by itself.
        predict_kwargs: keyword arguments of each prediction.
        predictor_from_checkpoint_kwargs: of ``predictor_cls.from_checkpoint``.
    """

    def __init__(
        self,
        predictor_cls: Any,
        checkpoint: Any,
        http_adapter: str | Callable[..., Any] | type | None = "ray.serve.http_adapters.json_to_ndarray",
        batching_params: dict[str, Any] | bool | None = None,
        predict_kwargs: dict[str, Any] | None = None,
        **predictor_from_checkpoint_kwargs: Any,
    ) -> None:
        from narke.serve.config import import_attr

        self._predictor_cls = import_attr(predictor_cls) if isinstance(predictor_cls, str) else predictor_cls
        self._make_kwargs = predictor_from_checkpoint_kwargs
        self.model = self._make(checkpoint)
        self._predict_kwargs = predict_kwargs or {}
        if batching_params is False:
            self.predict_impl = self._predict_one
        else:
            params = {} if batching_params in (None, True) else batching_params
            self.predict_impl = batch(self._predict_many, **params)  # type: ignore[arg-type]
        super().__init__(http_adapter)

    def _make(self, checkpoint: Any) -> Any:
        if isinstance(checkpoint, str):
            from narke.train import Checkpoint

            checkpoint = Checkpoint(checkpoint)
        return self._predictor_cls.from_checkpoint(checkpoint, **self._make_kwargs)

    async def predict(self, inp: Any) -> Any:
        """The prediction for one request's value."""
        return await self.predict_impl(inp)

    def reconfigure(self, config: dict[str, Any]) -> None:
        """Serve another checkpoint: ``user_config={"checkpoint": path}``."""
        self.model = self._make(config["checkpoint"])

    async def _predict_one(self, inp: Any) -> Any:
        return _plain(self.model.predict(inp, **self._predict_kwargs))

    async def _predict_many(self, inputs: list[Any]) -> list[Any]:
        batched, sizes, is_row = _join(inputs)
        out = self.model.predict(batched, **self._predict_kwargs)
        return [_plain(part) for part in _split(out, sizes, is_row)]


def _join(inputs: list[Any]) -> tuple[Any, list[int], bool]:
    """One value of many, the rows of each, and whether each is a single row without a dimension for it."""
    import numpy

    first = inputs[0]
    if isinstance(first, dict):
        joined = {name: numpy.stack([each[name] for each in inputs]) for name in first}
        return joined, [1] * len(inputs), True
    if isinstance(first, numpy.ndarray):
        return numpy.stack(inputs), [1] * len(inputs), True
    import pandas

    return pandas.concat(inputs, ignore_index=True), [len(each) for each in inputs], False


def _split(out: Any, sizes: list[int], is_row: bool) -> list[Any]:
    parts, at = [], 0
    for size in sizes:
        parts.append(_rows(out, at, at + size, is_row))
        at += size
    return parts


def _rows(out: Any, begin: int, end: int, is_row: bool) -> Any:
    if isinstance(out, dict):
        return {name: _rows(each, begin, end, is_row) for name, each in out.items()}
    if hasattr(out, "iloc"):
        return out.iloc[begin:end]
    return out[begin] if is_row else out[begin:end]


def _plain(value: Any) -> Any:
    """A prediction as FastAPI can send it."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if hasattr(value, "iloc"):
        return value.to_dict(orient="records")
    return value.tolist() if hasattr(value, "tolist") else value


PredictorDeployment = deployment(PredictorWrapper, name="PredictorDeployment")
