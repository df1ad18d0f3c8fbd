"""Runs a plan as a stream: one loop that starts tasks while there is room, and waits for what they make."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from typing import Any

import narke
from narke import exceptions
from narke.data._arguments import ARGS_FN
from narke.data.compute import ActorPoolStrategy, task_limit
from narke.data.context import BESIDE_CONSUMERS, STORE_FRACTION, DataContext
from narke.data.datasource.datasource import make_read_tasks
from narke.data.exceptions import ExecutionTimeoutError, as_user_error
from narke.data.execute.callbacks import built
from narke.data.execute.operators import (
    ErrorBudget,
    GatherOp,
    Held,
    LimitOp,
    Operator,
    Ordered,
    Source,
    TaskOp,
    UnionOp,
)
from narke.data.execute.pool import PoolLimits, PoolOp
from narke.data.execute.progress import Progress
from narke.data.mixing import Mix, MixOp
from narke.data.plan import Blocks, Bundle, Gather, Limit, Limits, Map, Node, Read, Union
from narke.data.staging import Stages
from narke.data.transforms import Chain
from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy

logger = logging.getLogger("narke.data")

WAIT_S = 1.0
MIN_BLOCK_BYTES = 1024 * 1024
MERGE_BYTES = 96 * 1024 * 1024
LOOK_S = 1.0  # seconds between looks for slow tasks
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

    def held(self, node: Node) -> Held:
        """An operator that keeps all that a node makes."""
        operator = Held(self.build(node))
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
        if isinstance(node, Mix):
            return MixOp(upstreams, node.weights, node.stop_on_shortest)
        if isinstance(node, Union):
            return UnionOp("Union", upstreams)
        assert isinstance(node, Gather), node
        options = self._task_options(node.remote_args)
        width = max(2, int(self._cluster.task_slots()))
        limits = Limits(options, min(MERGE_BYTES, 2 * self._cluster.block_bytes), width)
        return GatherOp(node.name, upstreams, limits, _cpus(options), node.planner)

    def _task_options(self, remote_args: Any) -> dict[str, Any]:
        """Options of tasks; they hold no CPU when pools of actors or consumers may take them all."""
        options = {name: value for name, value in remote_args.items() if name != ARGS_FN}
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
        if not node.source.supports_distributed_reads:
            here = narke.get_runtime_context().get_node_id()
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(here, soft=False)
        limit = task_limit(node.compute)
        chain = self._chain(node, node.row_limit)
        again = not any(step.once for step in node.steps)
        cpus = _cpus(options)
        return TaskOp(node.name, [], options, cpus, chain, works=works, limit=limit, repeatable=again)

    def _map(self, node: Map, upstreams: list[Operator]) -> Operator:
        if isinstance(node.compute, ActorPoolStrategy):
            return self._pool(node, upstreams)
        options = self._task_options(node.remote_args)
        chain, limit = self._chain(node), task_limit(node.compute)
        more: dict[str, Any] = {"min_rows": node.min_rows, "min_bytes": node.min_bytes}
        more["args_fn"] = node.remote_args.get(ARGS_FN)
        more["repeatable"] = not any(step.once for step in node.steps)
        return TaskOp(node.name, upstreams, options, _cpus(options), chain, limit=limit, **more)

    def _pool(self, node: Map, upstreams: list[Operator]) -> Operator:
        assert isinstance(node.compute, ActorPoolStrategy)
        options = {"num_cpus": 1, **node.remote_args}
        args_fn = options.pop(ARGS_FN, None)
        each = options["num_cpus"] or 0
        room = (
            max(1, int(self._cluster.cpus // each))
            if each
            else node.compute.max_size or int(self._cluster.cpus)
        )
        limits = PoolLimits(
            room,
            self._context.max_tasks_in_flight_per_actor,
            node.min_rows,
            self._context.autoscaling_config,
            self._context.actor_task_retry_on_errors,
            self._context.actor_init_retry_on_errors,
            1 + self._context.actor_init_max_retries,
            args_fn,
        )
        return PoolOp(node.name, upstreams, options, self._chain(node), node.compute, limits)


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
    return make_read_tasks(node.source, parallelism, node.row_limit, context)


class Execution:
    """One run of a plan. Iterating gives its bundles; `close` ends what runs.

    Args:
        plan: logical plan.
        context: settings.
    """

    def __init__(self, plan: Node, context: DataContext, name: str | None = None):
        if not narke.is_initialized():
            narke.init()
        self._cluster = Cluster(context)
        self._builder = Builder(context, self._cluster, plan)
        self._operators = self._builder.operators
        self._errors = ErrorBudget(context.max_errored_blocks)
        self._stages = Stages(plan)
        self._sides: dict[int, Held] = {}
        self._sink: Operator | None = None
        self._build()
        bar = context.enable_progress_bars
        self._progress = Progress(name or plan.name, self._operators, bar)
        self._context, self._name = context, name or plan.name
        self._callbacks = built(context.execution_callback_classes, context)
        self._begun_s = self._moved_s = self._looked_s = time.perf_counter()

    def __iter__(self) -> Iterator[Bundle]:
        failure: Exception | None = None
        try:
            yield from self._bundles()
        except Exception as error:
            failure = _original(error) if self._context.raise_original_map_exception else as_user_error(error)
            raise failure from (None if failure is not error else error.__cause__)
        finally:  # also when the consumer has had enough
            self.close()
            self._progress.end("FAILED" if failure else "FINISHED")
            self._tell_end(failure)

    def _build(self) -> None:
        """Make the operators of the next stage: of sides of joins that decide how the rest runs, or of the rest."""
        sides = self._stages.sides()
        self._sides = {key: self._builder.held(node) for key, node in sides.items()}
        self._sink = None if sides else self._builder.build(self._stages.rest())
        self._budget = self._cluster.bytes / max(1, sum(not op.done for op in self._operators))
        for operator in self._operators:
            operator.errors = self._errors

    def _next_stage(self) -> Operator | None:
        """Go on when all sides are there; the last operator, once the last stage has been built."""
        while self._sink is None and all(side.done for side in self._sides.values()):
            self._stages.settle({key: side.bundles for key, side in self._sides.items()})
            self._build()
            self._start_what_fits()
        return self._sink

    def _bundles(self) -> Iterator[Bundle]:
        self._begin()
        while True:
            self._start_what_fits()
            sink = self._next_stage()
            self._progress.update()
            for callback in self._callbacks:
                callback.on_execution_step(self)
            if sink is not None and sink.outputs:
                yield sink.outputs.popleft()
                self._moved_s = time.perf_counter()
            elif sink is not None and sink.done:
                return
            else:
                self._wait()

    def _begin(self) -> None:
        context = self._context
        if context.print_on_execution_start:
            logger.info("%s%s begins", self._log_prefix(), self._name)
        for callback in self._callbacks:
            callback.before_execution_starts(self)
        if context.wait_for_min_actors_s >= 0:
            self._wait_for_actors(context.wait_for_min_actors_s)

    def _log_prefix(self) -> str:
        return f"{self._context.dataset_logger_id}: " if self._context.dataset_logger_id else ""

    def _wait_for_actors(self, longest_s: float) -> None:
        """Let pools get their least number of actors.

        Raises:
            GetTimeoutError: they have not got them in time.
        """
        pools = [op for op in self._operators if isinstance(op, PoolOp)]
        end_s = time.perf_counter() + longest_s
        while lacking := [pool for pool in pools if not pool.has_least]:
            left_s = end_s - time.perf_counter()
            if left_s <= 0:
                raise exceptions.GetTimeoutError(
                    f"{lacking[0].stats.name} has not got its least number of actors in {longest_s} s: give it more "
                    "time (DataContext.wait_for_min_actors_s), or have it need fewer resources"
                )
            waitables = {w: pool for pool in lacking for w in pool.building()}
            ready, _ = narke.wait(list(waitables), num_returns=1, timeout=min(WAIT_S, left_s))
            for waitable in ready:
                waitables[waitable].on_ready(waitable)

    def _tell_end(self, failure: Exception | None) -> None:
        for callback in self._callbacks:
            if failure is None:
                callback.after_execution_succeeds(self)
            else:
                callback.after_execution_fails(self, failure)
        if self._context.enable_auto_log_stats:
            logger.info("%s%s\n%s", self._log_prefix(), self._name, self.stats())

    def stats(self) -> str:
        """What each operator did, one a line."""
        lines = [f"Operator {place} {op.stats}" for place, op in enumerate(self._operators)]
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
            self._moved_s = time.perf_counter()
            ready, _ = narke.wait(list(owners), num_returns=len(owners), timeout=0)
        for waitable in ready:
            owners[waitable].on_ready(waitable)
        self._look_for_stragglers()
        longest_s = self._context.execution_no_progress_timeout_s
        if 0 < longest_s < time.perf_counter() - self._moved_s:
            raise ExecutionTimeoutError(
                f"the dataset {self._name} has made no progress for {longest_s} s "
                f"(DataContext.execution_no_progress_timeout_s):\n{self.stats()}"
            )

    def _look_for_stragglers(self) -> None:
        now_s = time.perf_counter()
        if now_s - self._looked_s < LOOK_S:
            return
        self._looked_s = now_s
        for operator in self._operators:
            if isinstance(operator, Ordered) and self._has_room(operator):
                operator.speculate(self._context.speculation_factor)


def _original(error: Exception) -> Exception:
    """What a function of the user's raised, of what came back from its task."""
    cause = getattr(error, "cause", None)
    return cause if isinstance(cause, Exception) else error


def execute(plan: Node, context: DataContext, name: str | None = None) -> Execution:
    """Begin to run a logical plan; `name` is how progress calls it."""
    return Execution(plan, context, name)
