"""Runs a plan as a stream: one loop that starts tasks while there is room, and waits for what they make."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import narke
from narke.data.compute import ActorPoolStrategy, task_limit
from narke.data.context import BESIDE_CONSUMERS, STORE_FRACTION, DataContext
from narke.data.datasource.datasource import make_read_tasks
from narke.data.execute.operators import (
    ErrorBudget,
    GatherOp,
    LimitOp,
    Operator,
    Ordered,
    Source,
    TaskOp,
    UnionOp,
)
from narke.data.execute.pool import PoolOp
from narke.data.execute.progress import Progress
from narke.data.plan import Blocks, Bundle, Gather, Limit, Limits, Map, Node, Read, Union
from narke.data.transforms import Chain

WAIT_S = 1.0
MIN_BLOCK_BYTES = 1024 * 1024
MERGE_BYTES = 96 * 1024 * 1024
TASK_BLOCKS = 2  # blocks that a read task makes, about


class Cluster:
    """What the cluster offers to one execution: CPUs for tasks, bytes for blocks that wait, bytes of one block.

    Blocks are small against the store, because those in use (read, written, iterated over) cannot leave it.
    """

    def __init__(self, context: DataContext):
        total = narke.cluster_resources()
        limits = context.execution_options.resource_limits
        context.execution_options.validate()
        left = total.get("CPU", 1.0) - (context.execution_options.exclude_resources.cpu or 0.0)
        self.cpus = float(limits.cpu if limits.cpu is not None else max(1.0, left))
        store = total.get("object_store_memory", 2**30)
        share = context.override_object_store_memory_limit_fraction or STORE_FRACTION
        self.bytes = limits.object_store_memory or share * store
        # Consumers that hold all CPUs and wait for the data would wait for ever.
        beside = context.get_config(BESIDE_CONSUMERS, False)
        self.starved = beside and narke.available_resources().get("CPU", 0.0) < 1.0
        self.block_bytes = int(min(context.target_max_block_size, max(MIN_BLOCK_BYTES, share * store / 8)))

    def task_slots(self) -> float:
        """CPUs' worth of tasks to have in flight: a little more than run, so that none waits for this loop."""
        return self.cpus + max(1.0, self.cpus // 2)


class Builder:
    """Turns an optimised logical plan into operators, inputs first."""

    def __init__(self, context: DataContext, cluster: Cluster, plan: Node):
        self._context = context
        self._cluster = cluster
        self._actor_cpus = sum(_pool_cpus(node) for node in _nodes(plan))
        self.operators: list[Operator] = []

    def build(self, node: Node) -> Operator:
        """The operator of a node."""
        upstreams = [self.build(child) for child in node.inputs]
        operator = self._make(node, upstreams)
        self.operators.append(operator)
        return operator

    def _make(self, node: Node, upstreams: list[Operator]) -> Operator:
        if isinstance(node, Blocks):
            return Source(node.bundles)
        if isinstance(node, Read):
            return self._read(node)
        if isinstance(node, Map):
            return self._map(node, upstreams)
        if isinstance(node, Limit):
            return LimitOp(upstreams, node.rows, self._task_options({}))
        if isinstance(node, Union):
            return UnionOp("Union", upstreams)
        assert isinstance(node, Gather), node
        options = self._task_options({})
        width = max(2, int(self._cluster.task_slots()))
        limits = Limits(options, min(MERGE_BYTES, 2 * self._cluster.block_bytes), width)
        return GatherOp(node.name, upstreams, limits, _cpus(options), node.planner)

    def _task_options(self, remote_args: Any) -> dict[str, Any]:
        """Options of tasks; they hold no CPU when pools of actors or consumers may take them all."""
        options = dict(remote_args)
        if self._cluster.starved or self._actor_cpus > self._cluster.cpus - 1:
            options["num_cpus"] = 0
        if self._context.max_map_retries and self._context.retried_map_errors:
            options.setdefault("retry_exceptions", self._context.retried_map_errors)
            options.setdefault("max_retries", self._context.max_map_retries)
        if self._context.execution_options.label_selector:
            options.setdefault("label_selector", self._context.execution_options.label_selector)
        return options

    def _chain(self, node: Read | Map, row_limit: int | None = None) -> Any:
        return narke.put(Chain(node.steps, self._cluster.block_bytes, row_limit))

    def _read(self, node: Read) -> Operator:
        works = read_tasks(node, self._context, self._cluster.cpus, self._cluster.block_bytes)
        options = self._task_options(node.remote_args)
        limit = task_limit(node.compute)
        chain = self._chain(node, node.row_limit)
        return TaskOp(node.name, [], options, _cpus(options), chain, works, limit)

    def _map(self, node: Map, upstreams: list[Operator]) -> Operator:
        if isinstance(node.compute, ActorPoolStrategy):
            return self._pool(node, upstreams)
        options = self._task_options(node.remote_args)
        chain, limit = self._chain(node), task_limit(node.compute)
        return TaskOp(node.name, upstreams, options, _cpus(options), chain, None, limit, node.min_rows)

    def _pool(self, node: Map, upstreams: list[Operator]) -> Operator:
        assert isinstance(node.compute, ActorPoolStrategy)
        options = {"num_cpus": 1, **node.remote_args}
        each = options["num_cpus"] or 0
        room = (
            max(1, int(self._cluster.cpus // each))
            if each
            else node.compute.max_size or int(self._cluster.cpus)
        )
        most = self._context.max_tasks_in_flight_per_actor
        return PoolOp(
            node.name, upstreams, options, self._chain(node), node.compute, room, node.min_rows, most
        )


def _nodes(node: Node) -> Iterator[Node]:
    yield node
    for child in node.inputs:
        yield from _nodes(child)


def _pool_cpus(node: Node) -> float:
    """CPUs that the actors of a node may hold; without end when the pool has no upper bound."""
    if not isinstance(node, Map) or not isinstance(node.compute, ActorPoolStrategy):
        return 0.0
    each = node.remote_args.get("num_cpus")
    return (1.0 if each is None else each) * (node.compute.max_size or math.inf)


def _cpus(options: dict[str, Any]) -> float:
    each = options.get("num_cpus")
    return 1.0 if each is None else float(each)


def read_tasks(node: Read, context: DataContext, cpus: float, block_bytes: int) -> list[Any]:
    """The tasks of a read; as many as asked for, else enough for the CPUs and for blocks of bounded size."""
    parallelism = node.parallelism
    if parallelism is None or parallelism < 1:
        size = node.source.estimate_inmemory_data_size() or 0
        spread = min(context.read_op_min_num_blocks, 4 * max(1, int(cpus)))
        small = max(1, size // context.target_min_block_size) if size else spread
        parallelism = max(1, min(spread, small), math.ceil(size / (TASK_BLOCKS * block_bytes)))
    return make_read_tasks(node.source, parallelism, node.row_limit)


class Execution:
    """One run of a plan. Iterating gives its bundles; `close` ends what runs.

    Args:
        plan: optimised logical plan.
        context: settings.
    """

    def __init__(self, plan: Node, context: DataContext, name: str | None = None):
        if not narke.is_initialized():
            narke.init()
        self._cluster = Cluster(context)
        builder = Builder(context, self._cluster, plan)
        self._sink = builder.build(plan)
        self._operators = builder.operators
        self._budget = self._cluster.bytes / max(1, len(self._operators))
        errors = ErrorBudget(context.max_errored_blocks)
        for operator in self._operators:
            operator.errors = errors
        bar = context.enable_progress_bars
        self._progress = Progress(name or plan.name, self._operators, bar)
        self._begun_s = time.perf_counter()

    def __iter__(self) -> Iterator[Bundle]:
        state = "FINISHED"  # also when the consumer has had enough
        try:
            while True:
                self._start_what_fits()
                self._progress.update()
                if self._sink.outputs:
                    yield self._sink.outputs.popleft()
                elif self._sink.done:
                    return
                else:
                    self._wait()
        except Exception:
            state = "FAILED"
            raise
        finally:
            self.close()
            self._progress.end(state)

    def stats(self) -> str:
        """What each operator did, one a line."""
        lines = [str(op.stats) for op in self._operators]
        return "\n".join([*lines, f"Execution: {time.perf_counter() - self._begun_s:.2f}s in all"])

    def close(self) -> None:
        """End tasks and actors that are still running; again does nothing."""
        for operator in self._operators:
            if not operator.stopped:
                operator.stop()

    def _start_what_fits(self) -> None:
        """Start tasks, those nearest the end first, so that what is begun is finished before more is read."""
        for operator in self._operators:
            operator.advance()
        for operator in reversed(self._operators):
            while operator.can_start() and self._has_room(operator):
                operator.start()
                operator.advance()

    def _has_room(self, operator: Operator) -> bool:
        if not isinstance(operator, Ordered) or (not operator.in_flight and not operator.outputs):
            return True
        if operator.queued_bytes() > self._budget or self._queued_bytes() > self._cluster.bytes:
            return False
        weight = max(operator.cpus, 0.5)
        held = sum(
            max(op.cpus, 0.5) * op.in_flight for op in self._operators if isinstance(op, TaskOp | GatherOp)
        )
        return isinstance(operator, PoolOp) or held + weight <= self._cluster.task_slots()

    def _queued_bytes(self) -> int:
        return sum(
            operator.queued_bytes() for operator in self._operators if not isinstance(operator, Source)
        )

    def _wait(self) -> None:
        owners = {waitable: op for op in self._operators for waitable in op.running()}
        if not owners:
            if any(op.can_start() or op.outputs for op in self._operators):
                return
            raise RuntimeError(
                f"the dataset's execution has nothing to wait for and is not done:\n{self.stats()}"
            )
        ready, _ = narke.wait(list(owners), num_returns=1, timeout=WAIT_S)
        if ready:
            ready, _ = narke.wait(list(owners), num_returns=len(owners), timeout=0)
        for waitable in ready:
            owners[waitable].on_ready(waitable)


def execute(plan: Node, context: DataContext, name: str | None = None) -> Execution:
    """Begin to run an optimised plan; `name` is how progress calls it."""
    return Execution(plan, context, name)
