"""Batches for torch, TensorFlow and JAX."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np


def to_torch(batch: dict[str, np.ndarray], dtypes: Any, device: Any, pin_memory: bool) -> dict[str, Any]:
    """A dict of arrays as a dict of torch tensors, which own their memory.

    Args:
        dtypes: torch dtype of all columns, or by column. device: where to; "auto" is the CPU.
    """
    import torch

    made = {}
    for name, values in batch.items():
        kind = dtypes.get(name) if isinstance(dtypes, dict) else dtypes
        tensor = torch.as_tensor(values if values.flags.writeable else values.copy(), dtype=kind)
        tensor = tensor.pin_memory() if pin_memory else tensor
        made[name] = tensor if device in (None, "auto") else tensor.to(device)
    return made


def torch_columns(batch: dict[str, np.ndarray], names: Any, dtypes: Any, unsqueeze: bool) -> Any:
    """Columns as one tensor (a list of names), or as a list or dict of tensors (lists or dict of lists of names)."""
    import torch

    if isinstance(names, dict):
        kinds = dtypes if isinstance(dtypes, dict) else dict.fromkeys(names, dtypes)
        return {key: torch_columns(batch, own, kinds.get(key), unsqueeze) for key, own in names.items()}
    if names and not isinstance(names[0], str):
        each = dtypes if isinstance(dtypes, list) else [dtypes] * len(names)
        return [torch_columns(batch, own, kind, unsqueeze) for own, kind in zip(names, each, strict=True)]
    parts = [torch.as_tensor(np.array(batch[name]), dtype=dtypes) for name in names]
    parts = [part.unsqueeze(1) if unsqueeze and part.ndim == 1 else part for part in parts]
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]


def torch_iterable(
    batches: Iterable[dict[str, np.ndarray]],
    label: str | None,
    features: Any,
    label_dtype: Any,
    feature_dtypes: Any,
    unsqueeze_label: bool,
    unsqueeze_features: bool,
) -> Any:
    """A torch IterableDataset of (features, label)."""
    import torch

    class Batches(torch.utils.data.IterableDataset):  # type: ignore[name-defined,misc]
        """Pairs of features and label (None without a label column)."""

        def __iter__(self) -> Iterator[Any]:
            for batch in batches:
                names = features or [name for name in batch if name != label]
                made = torch_columns(batch, names, feature_dtypes, unsqueeze_features)
                if label is None:
                    yield made, None
                else:
                    yield made, torch_columns(batch, [label], label_dtype, unsqueeze_label)

    return Batches()


def to_tf(batch: dict[str, np.ndarray], dtypes: Any) -> dict[str, Any]:
    """A dict of arrays as a dict of TensorFlow tensors; those of varying shape are ragged."""
    import tensorflow as tf

    def convert(name: str, values: np.ndarray) -> Any:
        kind = dtypes.get(name) if isinstance(dtypes, dict) else dtypes
        if values.dtype == object and len(values) and isinstance(values[0], (np.ndarray, list)):
            return tf.ragged.stack([tf.convert_to_tensor(v, dtype=kind) for v in values])
        if values.dtype == object:
            values = np.array(values.tolist())
        return tf.convert_to_tensor(values, dtype=kind)

    return {name: convert(name, values) for name, values in batch.items()}


def tf_dataset(
    batches: Callable[[], Iterable[dict[str, np.ndarray]]], parts: list[Any], specs: list[Any]
) -> Any:
    """A tf.data.Dataset of tuples of columns.

    Args:
        batches: runs the dataset. parts: a name, a list of names or None for each of the tuple.
        specs: their tf.TypeSpecs; those that are None are found from the schema and a first batch.
    """
    import tensorflow as tf

    wanted = [part for part in parts if part is not None]

    def pick(values: dict[str, Any], part: Any) -> Any:
        return values[part] if isinstance(part, str) else {name: values[name] for name in part}

    def generate() -> Iterator[Any]:
        for batch in batches():
            values = to_tf(batch, None)
            yield tuple(pick(values, part) for part in wanted)

    first = to_tf(next(iter(batches())), None)

    def spec_of(name: str) -> Any:
        tensor = first[name]
        return tf.TensorSpec(shape=(None, *tensor.shape[1:]), dtype=tensor.dtype, name=name)

    made = []
    for part, spec in zip(parts, specs, strict=True):
        if part is not None:
            known = spec_of(part) if isinstance(part, str) else {name: spec_of(name) for name in part}
            made.append(spec if spec is not None else known)
    return tf.data.Dataset.from_generator(generate, output_signature=tuple(made))


def to_jax(batch: dict[str, np.ndarray], dtypes: Any, paddings: Any) -> dict[str, Any]:
    """A dict of arrays as a dict of JAX arrays.

    Args:
        dtypes: of all columns, or by column. paddings: value (or values by column) that fills lists up to one length.
    """
    import jax.numpy as jnp

    def convert(name: str, values: np.ndarray) -> Any:
        kind = dtypes.get(name) if isinstance(dtypes, dict) else dtypes
        fill = paddings.get(name) if isinstance(paddings, dict) else paddings
        if values.dtype == object and fill is not None:
            width = max(len(v) for v in values)
            values = np.array([[*v, *[fill] * (width - len(v))] for v in values])
        return jnp.asarray(values, dtype=kind)

    return {name: convert(name, values) for name, values in batch.items()}
