"""Sequences that a causal model extends together; they join and leave between steps.

Each sequence keeps its keys and values in a row of one cache. Rows are padded on the left to the longest one, so that a
step is one call of the model for all.
"""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Batch"]


class Batch:
    """The rows that run now.

    Attributes:
        rows: whatever the owner put there; each has `prompt` (token ids) and `last` (the last token chosen).
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.rows: list[Any] = []
        self._mask = torch.zeros((0, 0), dtype=torch.long)
        self._layers: list[tuple[Any, Any]] = []  # keys and values: rows, heads, positions, size

    def admit(self, rows: list[Any]) -> Any:
        """Read the prompts of new rows, which join; gives the logits of their next tokens."""
        width = max(len(row.prompt) for row in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.long)
        mask = torch.zeros((len(rows), width), dtype=torch.long)
        for at, row in enumerate(rows):
            ids[at, width - len(row.prompt) :] = torch.tensor(row.prompt)
            mask[at, width - len(row.prompt) :] = 1
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        logits, layers = self._run(ids, mask, positions, [])
        self._join(rows, mask, layers)
        return logits

    def admit_known(self, row: Any, layers: list[tuple[Any, Any]], logits: Any = None) -> Any:
        """A new row joins whose prompt's beginning was read before; the rest is read now.

        Args:
            layers: keys and values (heads, positions, size) of the beginning.
            logits: of the next token (1, vocabulary), where the whole prompt was read.

        Returns:
            the logits of its next token.
        """
        mask = torch.ones((1, len(row.prompt)), dtype=torch.long)
        read = [(keys.unsqueeze(0), values.unsqueeze(0)) for keys, values in layers]
        if logits is None:
            known = read[0][0].shape[2]
            positions = torch.arange(known, len(row.prompt)).unsqueeze(0)
            logits, read = self._run(torch.tensor([row.prompt[known:]]), mask, positions, read)
        self._join([row], mask, read)
        return logits

    def layers_of(self, place: int) -> list[tuple[Any, Any]]:
        """Keys and values (heads, positions, size) of a row, for each layer; views."""
        unused = int(self._mask.shape[1] - self._mask[place].sum())
        return [(keys[place, :, unused:], values[place, :, unused:]) for keys, values in self._layers]

    def step(self) -> Any:
        """Take in each row's last token; gives the logits of the next ones."""
        ids = torch.tensor([[row.last] for row in self.rows])
        positions = self._mask.sum(-1, keepdim=True)
        self._mask = torch.cat([self._mask, torch.ones((len(self.rows), 1), dtype=torch.long)], dim=1)
        logits, self._layers = self._run(ids, self._mask, positions, self._layers)
        return logits

    def _run(
        self, ids: Any, mask: Any, positions: Any, layers: list[tuple[Any, Any]]
    ) -> tuple[Any, list[tuple[Any, Any]]]:
        from transformers import DynamicCache

        cache = DynamicCache()
        for index, (keys, values) in enumerate(layers):
            cache.update(keys, values, index)
        out = self._model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
        return out.logits[:, -1], [(layer.keys, layer.values) for layer in out.past_key_values.layers]

    def _join(self, rows: list[Any], mask: Any, layers: list[tuple[Any, Any]]) -> None:
        if not self.rows:
            self.rows, self._mask, self._layers = list(rows), mask, layers
            return
        width = max(self._mask.shape[1], mask.shape[1])
        self._mask = torch.cat([_widened(self._mask, width, 1), _widened(mask, width, 1)])
        self._layers = [
            tuple(
                torch.cat([_widened(a, width, 2), _widened(b, width, 2)])
                for a, b in zip(old, new, strict=True)
            )  # type: ignore[misc]
            for old, new in zip(self._layers, layers, strict=True)
        ]
        self.rows += rows

    def keep(self, wanted: list[int]) -> None:
        """Drop all rows but those of the given places."""
        if len(wanted) == len(self.rows):
            return
        self.rows = [self.rows[at] for at in wanted]
        index = torch.tensor(wanted, dtype=torch.long)
        self._mask = self._mask[index]
        unused = int(self._mask.shape[1] - self._mask.sum(-1).max()) if wanted else self._mask.shape[1]
        self._mask = self._mask[:, unused:]
        self._layers = [(k[index][:, :, unused:], v[index][:, :, unused:]) for k, v in self._layers]


def _widened(tensor: Any, width: int, dim: int) -> Any:
    """Zeros on the left of a dimension until it has that width."""
    missing = width - tensor.shape[dim]
    if missing == 0:
        return tensor
    shape = list(tensor.shape)
    shape[dim] = missing
    return torch.cat([tensor.new_zeros(shape), tensor], dim=dim)
