"""A writing job with a checkpoint: the sink that notes what it wrote, the plan that leaves it out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa

from narke.data import blocks as blk
from narke.data.blocks import Block
from narke.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager, NumpyArrayBasedCheckpointFilter
from narke.data.checkpoint.checkpoint_writer import CheckpointWriter
from narke.data.checkpoint.interfaces import CheckpointConfig, InvalidCheckpointingOperators
from narke.data.datasource.datasink import Datasink, TaskContext, WriteResult
from narke.data.plan import Map, Node, Read
from narke.data.transforms import Step


class _NotWritten:
    """A step that leaves out rows whose keys were written."""

    __name__ = "CheckpointFilter"

    def __init__(self, config: CheckpointConfig, ref: Any):
        self._config, self._ref = config, ref

    def __call__(self, index: int, blocks: Iterable[Block]) -> Iterator[Block]:
        make = self._config.checkpoint_filter_cls or NumpyArrayBasedCheckpointFilter
        chosen, column = make(self._config, self._ref), self._config.id_column
        for block in blocks:
            if block.num_rows and column not in block.column_names:
                raise ValueError(
                    f"the checkpoint's id_column {column!r} is not in the source: {block.column_names}"
                )
            yield chosen.filter_rows_for_block(block) if block.num_rows else block


class CheckpointSink(Datasink[Any]):
    """A sink that notes the keys of what another writes."""

    def __init__(self, sink: Datasink[Any], config: CheckpointConfig):
        self._sink, self._config = sink, config

    def get_name(self) -> str:
        return self._sink.get_name()

    @property
    def min_rows_per_write(self) -> int | None:
        return self._sink.min_rows_per_write

    @property
    def min_bytes_per_write(self) -> int | None:
        return self._sink.min_bytes_per_write

    def on_write_start(self, schema: pa.Schema | None = None) -> None:
        self._sink.on_write_start(schema)

    def write(self, blocks: Iterable[Block], ctx: TaskContext) -> Any:
        column = self._config.id_column
        held = [block for block in blocks if block.num_rows]
        for block in held:
            if column not in block.column_names:
                raise ValueError(f"the checkpoint's id_column {column!r} did not reach the sink")
        writer = CheckpointWriter.create(self._config)
        keys = blk.concat([block.select([column]) for block in held]).column(0) if held else []
        pending = writer.write_pending_checkpoint(keys, f"{ctx.write_uuid}_{ctx.task_idx:06}")
        result = self._sink.write(held, ctx)
        if pending is not None:
            writer.commit_checkpoint(pending)
        return result

    def on_write_complete(self, write_result: WriteResult[Any]) -> None:
        self._sink.on_write_complete(write_result)
        if self._config.delete_checkpoint_on_success:
            self._config.forget()

    def on_write_failed(self, error: Exception) -> None:
        self._sink.on_write_failed(error)


def resumed(plan: Node, config: CheckpointConfig, sink: Datasink[Any], context: Any) -> Node:
    """The plan without the rows that were written before.

    Raises:
        InvalidCheckpointingOperators: it is not a chain of maps over one source.
    """
    _check(plan)
    manager = (config.checkpoint_manager_cls or IdColumnCheckpointManager)(config, context)
    written, _ = manager.load_checkpoint(getattr(sink, "path", None), getattr(sink, "filesystem", None))
    return plan if written is None else _without(plan, config, written)


def _check(plan: Node) -> None:
    if isinstance(plan, Map):
        _check(plan.inputs[0])
    elif not isinstance(plan, Read):
        raise InvalidCheckpointingOperators(
            f"a job with a checkpoint must read one source, map and write; it cannot hold {plan.name}"
        )


def _without(plan: Node, config: CheckpointConfig, written: Any) -> Node:
    if isinstance(plan, Read):
        return Map((plan,), (Step("stream", _NotWritten(config, written)),))
    return dataclasses.replace(plan, inputs=(_without(plan.inputs[0], config, written),))
