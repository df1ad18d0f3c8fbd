"""The conduct of a training run: starting workers, taking their reports, beginning again after failures."""

from __future__ import annotations

import contextlib
import logging
import pickle
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import narke
from narke.exceptions import RayError, RuntimeEnvSetupError
from narke.train import _worker_group
from narke.train._gather import CompleteReport, Gather, Part
from narke.train._naming import timestamp
from narke.train._progress import Progress
from narke.train._run_state import Attempts, framework_versions
from narke.train._validations import Validations
from narke.train._vault import Vault
from narke.train._worker_group import GroupSpec, NoRoom, WorkerGroup
from narke.train._worker_session import WorkerSpec
from narke.train.v2.api.exceptions import ControllerError, TrainingFailedError, WorkerGroupError

__all__ = ["Controller", "Outcome", "RunSpec"]

_log = logging.getLogger(__name__)

_IDLE_S = 0.5  # how long the loop waits when nobody reports
_QUIET_S, _DRAIN_S = 0.05, 0.5  # after a failure: how long others may be silent, and be listened to at all
_ROWS = 100_000  # reports whose metrics are kept
_WINDOW = 1000  # reports a worker may be ahead
_LEAVING_S = 1.0  # that resources of what has ended may take to be free
_LEAVING_LOOK_S = 0.02
_RESTART_ROOM_S = 100.0  # how long lost nodes may take to come back
_BACKOFF_S, _LONGEST_BACKOFF_S = 1.0, 30.0
_FINAL = (NoRoom, RuntimeEnvSetupError, ImportError, ValueError, TypeError)  # trying again does not help


@dataclass
class RunSpec:
    """What a run is made of.

    Args:
        run_id, name, trainer: names of the run and the trainer's class.
        function: what each worker calls, without arguments.
        backend_config: of the framework.
        group: what workers hold.
        least, most: numbers of workers between which the run may choose.
        resize_s: seconds between looks for room for more workers.
        vault: the run's checkpoints.
        max_failures, start_failures: how often to begin again after workers failed, or failed to start; -1 for ever.
        shards: gives the datasets' parts by rank, for a group.
        checkpoint: to begin from, if the run has none of its own.
        metadata: of the trainer.
        lockstep: whether each report waits until it is complete.
        fill: adds to the metrics of a complete report.
        stop: whether metrics end the run.
        reported: is told (metrics by rank, filled metrics, checkpoint) of each complete report.
        failed: is told the errors by rank of each failure.
        validation: a `ValidationConfig`.
        settings: how the trainer was set up, for whoever shows the run.
    """

    run_id: str
    name: str
    trainer: str
    function: Callable[[], Any]
    backend_config: Any
    group: GroupSpec
    least: int
    most: int
    resize_s: float
    vault: Vault
    max_failures: int
    start_failures: int
    shards: Callable[[WorkerGroup], list[dict[str, Any]]]
    checkpoint: Any = None
    metadata: dict[str, Any] | None = None
    lockstep: bool = False
    fill: Callable[[dict[str, Any], str | None], dict[str, Any]] = lambda metrics, _folder: dict(metrics)
    stop: Callable[[dict[str, Any]], bool] = lambda _metrics: False
    reported: Callable[[list[dict[str, Any]], dict[str, Any], Any], None] = lambda *_: None
    failed: Callable[[dict[int, Exception]], None] = lambda _errors: None
    validation: Any = None
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class Outcome:
    """How a run ended.

    Args:
        metrics: of the last report.
        error: None if it ended by itself or was stopped.
        rows: metrics of the reports, the latest if there were very many.
        value: what rank 0's function returned.
        values: what each rank's function returned.
    """

    metrics: dict[str, Any] | None = None
    error: TrainingFailedError | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    value: Any = None
    values: dict[int, Any] = field(default_factory=dict)


@dataclass
class _Ended:
    """How an attempt ended: errors by rank, or one word why."""

    why: str
    errors: dict[int, Exception] = field(default_factory=dict)
    text: str = ""


class Controller:
    """Conducts one run in the calling thread.

    Args:
        spec: of the run.
    """

    def __init__(self, spec: RunSpec) -> None:
        self._spec = spec
        self._vault = spec.vault
        self._rows: deque[dict[str, Any]] = deque(maxlen=_ROWS)
        self._outcome = Outcome()
        self._progress = Progress(spec.run_id, spec.name, spec.trainer, self._vault.folder)
        self._progress.update(
            job_id=narke.get_runtime_context().get_job_id(),
            settings=spec.settings,
            framework_versions=framework_versions(),
        )
        self._history = Attempts(spec.run_id)
        self._validations = Validations(spec.validation, self._vault)
        self._failures = self._start_failures = self._attempts = 0

    def run(self) -> Outcome:
        """Train until the functions end, the run is stopped or has failed too often."""
        status = "FAILED"
        try:
            self._outcome.error = self._attempt_until_done()
            self._validations.finish()
            status = "FAILED" if self._outcome.error else "FINISHED"
        finally:
            self._close(status)
        self._outcome.rows = list(self._rows)
        return self._outcome

    def _close(self, status: str) -> None:
        text = str(self._outcome.error) if self._outcome.error else None
        self._vault.save(finished=status == "FINISHED", error=text, metrics=self._outcome.metrics)
        self._end_attempt("FINISHED" if status == "FINISHED" else "ERRORED", text)
        self._progress.update(status=status, error=text)
        self._progress.flush(now=True)

    def _end_attempt(self, status: str, detail: str | None) -> None:
        self._history.end(status, detail)
        self._progress.update(history=self._history.rows)

    def _attempt_until_done(self) -> TrainingFailedError | None:
        while True:
            self._attempts += 1
            ended = self._attempt()
            if ended.why == "done":
                return None
            self._end_attempt("ABORTED" if ended.why == "resize" else "ERRORED", ended.text or ended.why)
            error = self._next(ended)
            if error is not None:
                return error
            self._progress.update(status="RESTARTING", failures=self._failures)
            self._progress.flush(now=True)

    def _next(self, ended: _Ended) -> TrainingFailedError | None:
        """What an attempt's end means: None to begin again, else the error of the run."""
        spec = self._spec
        if ended.why == "resize":
            return None
        if ended.why == "start":
            self._start_failures += 1
            cause = ended.errors[0]
            if isinstance(cause, _FINAL) or _spent(self._start_failures, spec.start_failures):
                return ControllerError(cause)
            _log.warning("the workers of %s could not be started, trying again: %s", spec.name, cause)
            time.sleep(min(_BACKOFF_S * self._start_failures, _LONGEST_BACKOFF_S))
            return None
        self._failures += 1
        with _guarded("a callback"):
            spec.failed(ended.errors)
        if _spent(self._failures, spec.max_failures):
            return _chained(WorkerGroupError(ended.text, ended.errors))
        _log.warning("%s; beginning again (%d of %s)", ended.text, self._failures, _times(spec.max_failures))
        return None

    # ---- one attempt

    def _decode(self, payload: bytes) -> dict[str, Any]:
        """The metrics of a report as a worker made them."""
        return self._spec.backend_config.backend_cls.decode_data(pickle.loads(payload))

    def _attempt(self) -> _Ended:
        spec = self._spec
        self._progress.flush(now=True)
        group: WorkerGroup | None = None
        try:
            self._vault.begin_attempt()
            wait_s = _RESTART_ROOM_S if self._attempts > 1 else _worker_group.NEVER_FITS_S
            group = WorkerGroup(spec.group, self._size(), wait_s)
            backend = spec.backend_config.backend_cls()
            shards = spec.shards(group)  # first: datasets are read while workers import their framework
            backend.on_start(group, spec.backend_config)
            backend.on_training_start(group, spec.backend_config)
        except (RayError, OSError, RuntimeError, ImportError, ValueError, TypeError) as error:
            if group is not None:
                group.shutdown()
            return _Ended("start", {0: error})
        except BaseException:
            if group is not None:
                group.shutdown()
            raise
        try:
            ended = _Attempt(self, group, shards).watch()
            if ended.why == "done":
                with _guarded("the shutdown of the process group"):
                    backend.on_shutdown(group, spec.backend_config)
            return ended
        finally:
            group.shutdown()

    def _size(self) -> int:
        """With how many workers to begin: for all that there is room, once what has just ended has left."""
        spec = self._spec
        if spec.least == spec.most:
            return spec.most
        wanted = _worker_group.whole_room(spec.group, spec.most)
        deadline = time.monotonic() + _LEAVING_S
        while (
            room := _worker_group.free_room(spec.group, spec.most)
        ) < wanted and time.monotonic() < deadline:
            time.sleep(_LEAVING_LOOK_S)
        return max(spec.least, room)

    def take(self, report: CompleteReport) -> bool:
        """A report is complete.

        Returns:
            whether the run is to stop.
        """
        spec = self._spec
        part = report.checkpoint
        metrics = spec.fill(report.metrics, part.checkpoint if part else None)
        validates = bool(part and part.validation and spec.validation is not None)
        entry = self._vault.complete(report, metrics, validates)
        if entry is not None and validates:
            assert part is not None
            self._validations.begin(entry, part.validation)
        checkpoint = self._vault.at(entry) if entry else None
        self._rows.append(metrics)
        self._outcome.metrics = metrics
        self._progress.report(report.index, metrics, entry.checkpoint_dir_name if entry else None)
        ranks = [report.parts[rank].metrics for rank in sorted(report.parts)]
        spec.reported(ranks, metrics, checkpoint)
        return spec.stop(metrics)


class _Attempt:
    """One group of workers from the beginning of their functions to the end of the attempt."""

    def __init__(self, controller: Controller, group: WorkerGroup, shards: list[dict[str, Any]]) -> None:
        self._run, self._spec, self._vault = controller, controller._spec, controller._vault
        self._group = group
        self._gather = Gather(len(group), self._vault.reports)
        self._streams = {self._begin(rank, shards[rank]): rank for rank in range(len(group))}
        self._collectives: dict[int, dict[int, bytes]] = {}
        self._gone: set[int] = set()  # ranks whose functions have returned
        self._errors: dict[int, Exception] = {}
        self._texts: list[str] = []
        self._stopped = self._committed = False
        self._looked = time.monotonic()
        workers = [
            {"rank": rank, "node_id": w.info.node_id, "node_ip": w.info.node_ip, "pid": w.info.pid}
            for rank, w in enumerate(group)
        ]
        controller._history.begin(group)
        controller._progress.update(
            status="RUNNING",
            world_size=len(group),
            attempts=controller._attempts,
            workers=workers,
            history=controller._history.rows,
        )

    def _begin(self, rank: int, shards: dict[str, Any]) -> Any:
        spec, vault = self._spec, self._vault
        worker = self._group.workers[rank]
        told = WorkerSpec(
            rank=rank,
            world_size=len(self._group),
            place=worker.place,
            storage=vault.storage,
            experiment=vault.storage.experiment_dir_name,
            trial_name=vault.storage.trial_dir_name or spec.name,
            trial_id=spec.run_id,
            trial_resources=spec.group.bundle,
            first=vault.reports,
            names=vault.names(self._stamp()),
            window=0 if spec.lockstep else _WINDOW,
            checkpoint=vault.latest or spec.checkpoint,
            shards=shards,
            metadata=spec.metadata,
            encode=spec.backend_config.backend_cls.encode_data,
            reported=vault.reported(),
        )
        call = worker.actor.train.options(num_returns="streaming")
        return call.remote(told, spec.function, spec.backend_config.train_func_context)

    def _stamp(self) -> str:
        self._time = getattr(self, "_time", None) or timestamp()
        return self._time

    def watch(self) -> _Ended:
        """Take what the workers send until the attempt is over."""
        while self._streams:
            self._run._progress.flush()
            refs = self._run._validations.refs()
            ready, _ = narke.wait([*self._streams, *refs], timeout=_IDLE_S)
            if self._run._validations.collect():
                self._acknowledge()
            self._receive_all(ready)
            if self._errors:
                return self._failed()
            if self._stopped:
                return _Ended("done")
            if self._may_grow():
                return _Ended("resize")
        return _Ended("done")

    def _receive_all(self, ready: list[Any]) -> None:
        for stream in ready:
            if stream in self._streams:
                self._receive(stream)

    def _receive(self, stream: Any) -> None:
        rank = self._streams[stream]
        try:
            events = narke.get(next(stream))
        except StopIteration:
            del self._streams[stream]
            return
        except RayError as error:
            del self._streams[stream]
            self._errors[rank] = error
            self._texts.append(f"rank {rank}: {error}")
            return
        before = self._gather.next
        for event in events:
            self._handle(rank, event)
            if self._stopped:
                return
        if self._gather.next > before:
            self._acknowledge()

    def _handle(self, rank: int, event: tuple) -> None:
        kind = event[0]
        if kind == "report":
            _, index, payload, folder, stored, place, validation = event
            part = Part(self._run._decode(payload), folder, stored, place[1] if place else None, validation)
            self._take(self._gather.report(rank, index, part))
        elif kind == "stored":
            self._take(self._gather.stored(rank, event[1]))
        elif kind in ("barrier", "broadcast"):
            self._collective(rank, event[1], event[2])
        elif kind == "return":
            self._run._outcome.values[rank] = pickle.loads(event[1])
            if rank == 0:
                self._run._outcome.value = self._run._outcome.values[0]
            self._take(self._gather.ended(rank))
            self._gone.add(rank)
            self._look_for_waiters()
        elif event[1] is not None:
            self._errors[rank] = pickle.loads(event[1])
            self._texts.append(f"rank {rank}:\n{event[2]}")

    def _take(self, reports: list[CompleteReport]) -> None:
        for report in reports:
            self._committed = self._committed or report.checkpoint is not None
            if self._run.take(report):
                self._stopped = True
                return

    def _acknowledge(self) -> None:
        last, reported = (self._vault.latest, self._vault.reported()) if self._committed else (None, None)
        for worker in self._group:
            worker.actor.acknowledge.remote(self._gather.next - 1, last, reported)

    def _collective(self, rank: int, number: int, value: bytes) -> None:
        given = self._collectives.setdefault(number, {})
        given[rank] = value
        if len(given) == len(self._group):
            del self._collectives[number]
            for worker in self._group:
                worker.actor.collected.remote(number, given[0])
        else:
            self._look_for_waiters()

    def _look_for_waiters(self) -> None:
        """Ranks in a collective call that others will never make, because their functions have returned."""
        for given in self._collectives.values():
            absent = sorted(self._gone - set(given))
            if absent:
                rank = min(given)
                self._errors[rank] = RuntimeError(
                    f"rank {rank} waits in train.collective for rank {absent[0]}, whose function has returned: every "
                    "rank makes the same collective calls"
                )
                self._texts.append(f"rank {rank}: {self._errors[rank]}")

    def _failed(self) -> _Ended:
        end = time.monotonic() + _DRAIN_S
        while self._streams and time.monotonic() < end:  # what was reported before the failure still counts
            ready, _ = narke.wait(list(self._streams), timeout=_QUIET_S)
            if not ready:
                break
            self._receive_all(ready)
        for worker in self._group:
            worker.actor.abort.remote()
        first = "; ".join(
            f"rank {rank} failed with {_brief(error)}" for rank, error in sorted(self._errors.items())
        )
        return _Ended(
            "failed",
            self._errors,
            f"training of {self._spec.name} failed: {first}\n" + "\n".join(self._texts),
        )

    def _may_grow(self) -> bool:
        spec, size = self._spec, len(self._group)
        if size >= spec.most or not self._committed or time.monotonic() - self._looked < spec.resize_s:
            return False
        self._looked = time.monotonic()
        return _worker_group.free_room(spec.group, spec.most - size) > 0


def _spent(count: int, limit: int) -> bool:
    return limit >= 0 and count > limit


def _times(limit: int) -> str:
    return "any number" if limit < 0 else str(limit)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]


def _chained(error: WorkerGroupError) -> WorkerGroupError:
    error.__cause__ = next(iter(error.worker_failures.values()), None)
    return error


@contextlib.contextmanager
def _guarded(what: str) -> Any:
    """Log what goes wrong in something that the run does not depend on."""
    try:
        yield
    except Exception:
        _log.exception("%s failed", what)
