"""The shell around the controller: hosts of trials, as actors of the cluster.

`Runners` is what the controller needs; `ActorRunners` does it with actors; tests use one without processes.

A host holds a trial's resources. It is asked for before a trial can run and serves trial after trial; a trial is never
bound to a host that is not there yet. While trials wait and no host is idle, one host more than the cluster has room
for is asked for: it comes when room comes.
"""

from __future__ import annotations

import abc
import dataclasses
import logging
import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from narke._private import preloads
from narke.tune.execution.placement_groups import lacking
from narke.tune.result import TIME_TOTAL_S
from narke.tune.trainable._session import TrialInfo

if TYPE_CHECKING:
    from narke.tune._checkpoints import TrainingResult
    from narke.tune.experiment.trial import Trial

__all__ = ["ActorRunners", "Event", "Runners"]

logger = logging.getLogger(__name__)
_LOOK_S = 0.5  # how often it is looked whether the cluster can ever fulfil what is asked for
_QUICK_S = 0.2  # a host is given its next trial in advance after one that took no longer than this
_AHEAD_S = 0.1  # how much work waits in a host, if trials may be given far in advance
_MOST_AHEAD = 8
_STUCK_S = 0.05  # how long a trial waits behind another one while there is an idle host
_OVERDUE_S = 1.0  # the same while there is none


@dataclass
class Event:
    """Something came from a host.

    Args:
        kind: "result" (value: `worker.Outcome`), "saved" (value: `TrainingResult` or None), "failed" (value: the
            error), "room" (a host is idle now; no trial), "hopeless" (value: the error; no host with `request` comes),
            "refused" (a prepared trial was not begun).
        trial: whose.
        value: see `kind`.
        request: resources, of "hopeless".
    """

    kind: str
    trial: Trial | None
    value: Any = None
    request: Any = None


def _warn_s() -> float:
    return float(os.environ.get("TUNE_WARN_INSUFFICENT_RESOURCE_THRESHOLD_S", "10"))


def _give_up_s() -> float:
    return float(os.environ.get("TUNE_INFEASIBLE_TRIAL_TIMEOUT_S", "8"))


class Runners(abc.ABC):
    """What the controller can have done."""

    @abc.abstractmethod
    def start(self, trial: Trial, restore: TrainingResult | None, ahead: bool = False) -> bool:
        """Begin a trial if a host is idle; returns whether one was. If not, one is asked for.

        Args:
            trial: the trial.
            restore: the checkpoint to begin from.
            ahead: its function may run on while its last result is on its way: none will stop it.
        """

    @abc.abstractmethod
    def prepare(self, trial: Trial, far: bool = False) -> bool:
        """Have a busy host begin a trial once its own has ended by itself; returns whether one will.

        `release` returns the trial when that happens; an event says when it does not. No result may stop the trials.

        Args:
            trial: the trial.
            far: it may wait behind others that wait: what they will report could not change it.
        """

    @abc.abstractmethod
    def step(self, trial: Trial) -> None:
        """Let a trial run its next step."""

    @abc.abstractmethod
    def save(self, trial: Trial) -> None:
        """Have a trial make a checkpoint."""

    @abc.abstractmethod
    def stop(self, trial: Trial, failed: bool = False) -> None:
        """End a trial; events of it no longer come.

        Args:
            trial: the trial.
            failed: its host is not used again.
        """

    @abc.abstractmethod
    def release(self, trial: Trial) -> Trial | None:
        """Take note that a trial ended by itself; returns the prepared trial that its host has begun, if any."""

    @abc.abstractmethod
    def want(self, count: int) -> None:
        """Say how many trials wait for a host."""

    @abc.abstractmethod
    def export(self, trial: Trial, formats: list[str]) -> dict[str, str]:
        """Have a trial export its model; returns the folders."""

    @abc.abstractmethod
    def wait(self, timeout_s: float | None) -> list[Event]:
        """Wait for events, at most for a time."""

    @abc.abstractmethod
    def shutdown(self) -> None:
        """End all hosts."""


@dataclass(eq=False)
class _Host:
    actor: Any
    request: Any
    group: Any = None
    trial: Trial | None = None
    asked_at: float = 0.0
    fresh: bool = True
    pending: Any = field(default=None, repr=False)
    kind: str = ""
    began_at: float | None = None  # when the trial was begun, until its first answer
    took_s: float | None = None  # by the last trial, if it was over soon and with its first answer
    next: deque[tuple[Trial, Any]] = field(default_factory=deque, repr=False)  # and the calls that begin them
    moved_at: float = 0.0  # when the first of them became the first
    is_suspect: bool = False  # it may have been interrupted when its next trial was taken away


class ActorRunners(Runners):
    """Hosts as actors.

    Args:
        trainables: classes by registered name.
        storage: the experiment's.
        experiment_name: for the trials' contexts.
        reuse_actors: let trainables become other trials.
        fresh_process: a process for each trial.
    """

    def __init__(
        self,
        trainables: dict[str, type],
        storage: Any,
        experiment_name: str,
        reuse_actors: bool = False,
        fresh_process: bool = False,
    ) -> None:
        import narke
        from narke import cloudpickle
        from narke.tune.execution.worker import TrialHost

        self._narke = narke
        blob = cloudpickle.dumps(storage) if storage is not None else None
        self._common = TrialInfo(experiment_name=experiment_name, storage_blob=blob)
        self._reuse = reuse_actors
        self._fresh = fresh_process and not reuse_actors
        self._trainables = narke.put(trainables)
        self._host_class: Any = narke.remote(_preload=preloads.TUNE)(TrialHost)
        self._hosts: dict[Any, _Host] = {}  # by the reference of the answer that is awaited
        self._by_trial: dict[str, _Host] = {}
        self._idle: list[_Host] = []
        self._asked: list[_Host] = []
        self._events: list[Event] = []
        self._stopping: dict[Any, tuple[_Host, float]] = {}
        self._preparing: dict[str, _Host] = {}  # by the trial that comes next
        self._withdrawn: dict[Any, Trial] = {}
        self._warned = False
        self._looked_s = 0.0

    # ---- what the controller asks for

    def start(self, trial: Trial, restore: TrainingResult | None, ahead: bool = False) -> bool:
        """Begin a trial; see `Runners`."""
        request = trial.placement_group_factory
        host = self._take_idle(request)
        if host is None:
            self._ask_for(request)
            return False
        self._give(host, trial)
        self._await(host, self._call_start(host, trial, restore, ahead), "result")
        return True

    def _give(self, host: _Host, trial: Trial) -> None:
        host.trial, host.fresh, host.began_at = trial, False, time.monotonic()
        self._by_trial[trial.trial_id] = host
        trial.set_ray_actor(host.actor)

    def _call_start(
        self, host: _Host, trial: Trial, restore: TrainingResult | None, ahead: bool, queued: bool = False
    ) -> Any:
        facts = {
            "trial_id": trial.trial_id,
            "trial_name": str(trial),
            "trial_dir": trial.path,
            "local_dir": trial.local_path,
            "dirname": trial.relative_logdir,
            "checkpoint_index": trial.storage.current_checkpoint_index if trial.storage else -1,
            "ahead": ahead and not self._fresh,
        }
        log_to_file = trial.log_to_file or (None, None)
        return host.actor.start.remote(
            trial.trainable_name, trial.config, facts, restore, log_to_file, queued
        )

    def prepare(self, trial: Trial, far: bool = False) -> bool:
        """Have a busy host begin a trial next; see `Runners`."""
        request = trial.placement_group_factory
        fits = [
            host
            for host in self._by_trial.values()
            if self._may_prepare(host, far) and host.request == request
        ]
        if not fits:
            return False
        host = min(fits, key=lambda each: len(each.next))
        if not host.next:
            host.moved_at = time.monotonic()
        host.next.append((trial, self._call_start(host, trial, None, True, queued=True)))
        self._preparing[trial.trial_id] = host
        return True

    def step(self, trial: Trial) -> None:
        """Run a step; see `Runners`."""
        host = self._by_trial[trial.trial_id]
        host.is_suspect = False  # the trial goes on, so the host has refused what was to come next
        self._await(host, host.actor.step.remote(), "result")

    def save(self, trial: Trial) -> None:
        """Make a checkpoint; see `Runners`."""
        host = self._by_trial[trial.trial_id]
        self._await(host, host.actor.save.remote(), "saved")

    def export(self, trial: Trial, formats: list[str]) -> dict[str, str]:
        """Have a trial export its model; returns the folders."""
        host = self._by_trial[trial.trial_id]
        return self._narke.get(host.actor.export.remote(formats))

    def release(self, trial: Trial) -> Trial | None:
        """Take note that a trial ended; see `Runners`."""
        host = self._by_trial.pop(trial.trial_id, None)
        if host is None:
            return None
        trial.set_ray_actor(None)
        if not host.next:
            self._make_idle(host)
            return None
        begun, call = self._take_next(host)
        self._give(host, begun)
        self._await(host, call, "result")
        return begun

    def stop(self, trial: Trial, failed: bool = False) -> None:
        """End a trial; see `Runners`."""
        host = self._preparing.get(trial.trial_id)
        if host is not None:
            self._withdraw(host)
            return
        host = self._by_trial.pop(trial.trial_id, None)
        if host is None:
            return
        trial.set_ray_actor(None)
        busy = self._hosts.pop(host.pending, None) is not None
        if failed or host.next or host.is_suspect:
            self._end(host)
            return
        call = host.actor.stop.remote()
        host.trial = None
        grace_s = float(os.environ.get("TUNE_FORCE_TRIAL_CLEANUP_S", "") or (5 if busy else 30))
        self._stopping[call] = (host, time.monotonic() + grace_s)

    # ---- trials that hosts begin by themselves

    def _may_prepare(self, host: _Host, far: bool) -> bool:
        began_at, took_s = host.began_at, host.took_s
        if took_s is None or began_at is None or self._is_used_up(host):
            return False
        most = max(1, min(_MOST_AHEAD, int(_AHEAD_S / took_s))) if far else 1
        return len(host.next) < most and time.monotonic() - began_at < _QUICK_S

    def _take_next(self, host: _Host) -> tuple[Trial, Any]:
        trial, call = host.next.popleft()
        host.moved_at = time.monotonic()
        del self._preparing[trial.trial_id]
        return trial, call

    def _refuse_next(self, host: _Host) -> None:
        """The host will refuse its next trials, or has gone."""
        refused = [Event("refused", self._take_next(host)[0]) for _ in range(len(host.next))]
        self._events += reversed(refused)  # each is put before all that wait

    def _withdraw(self, host: _Host) -> None:
        """Take a host's next trials away; when the answer is there, the host does not run it (any more)."""
        host.took_s, host.is_suspect = None, True
        while host.next:
            trial, call = self._take_next(host)
            self._withdrawn[call] = trial
            self._narke.cancel(call)

    def _look_at_prepared(self, now: float) -> None:
        """Take trials away that wait behind one which takes long."""
        for host in {id(host): host for host in self._preparing.values()}.values():
            is_missed = any(idle.request == host.request for idle in self._idle)
            if now - host.moved_at > (_STUCK_S if is_missed else _OVERDUE_S):
                self._withdraw(host)

    # ---- hosts

    def _take_idle(self, request: Any) -> _Host | None:
        for at, host in enumerate(self._idle):
            if host.request == request:
                return self._idle.pop(at)
        return None

    def _ask_for(self, request: Any) -> None:
        """Ask for hosts with these resources, unless one is on its way."""
        if any(host.request == request for host in self._asked):
            return
        if any(host.request == request for host, _ in self._stopping.values()):
            return
        for host in self._idle + self._asked:  # what they hold may be what is missing
            self._end(host)
        self._idle, self._asked = [], []
        for _ in range(max(1, self._room(request))):
            self._asked.append(self._ask(request))

    def _room(self, request: Any) -> int:
        """How many such hosts the cluster has room for now, at most as many as are worth asking for at once."""
        needed = request.required_resources
        free = self._narke.available_resources()
        fits = [free.get(name, 0) // amount for name, amount in needed.items() if amount]
        return int(min([*fits, self._wanted])) if fits else self._wanted

    _wanted = 1

    def want(self, count: int) -> None:
        """Say how many trials wait for a host."""
        self._wanted = max(1, count)

    def _ask(self, request: Any) -> _Host:
        from narke.air.execution.resources.request import as_options
        from narke.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        group = None
        bundles = request.bundles
        if len(bundles) == 1 and not request.head_bundle_is_empty:
            options = as_options(bundles[0])
        elif request.head_bundle_is_empty and bundles == [{}]:
            options = {"num_cpus": 0}
        else:
            group = request.to_placement_group()
            head = {} if request.head_bundle_is_empty else bundles[0]
            options = as_options(head)
            options["scheduling_strategy"] = PlacementGroupSchedulingStrategy(
                group,
                placement_group_bundle_index=-1 if request.head_bundle_is_empty else 0,
                placement_group_capture_child_tasks=True,
            )
        common = dataclasses.replace(self._common, resources=request)
        actor = self._host_class.options(**options).remote(self._trainables, self._reuse, common)
        host = _Host(actor, request, group, asked_at=time.monotonic())
        self._await(host, actor.ready.remote(), "ready")
        return host

    def _await(self, host: _Host, reference: Any, kind: str) -> None:
        host.pending = reference
        self._hosts[reference] = host
        host.kind = kind

    def _make_idle(self, host: _Host) -> None:
        host.trial = None
        if self._is_used_up(host):
            self._end(host)
        else:
            self._idle.append(host)
        self._events.append(Event("room", None))

    def _is_used_up(self, host: _Host) -> bool:
        uses_gpu = any(bundle.get("GPU") for bundle in host.request.bundles)
        return host.is_suspect or (not host.fresh and not self._reuse and (self._fresh or uses_gpu))

    def _end(self, host: _Host) -> None:
        from narke.util.placement_group import remove_placement_group

        self._hosts.pop(host.pending, None)
        self._refuse_next(host)
        self._narke.kill(host.actor)
        if host.group is not None:
            remove_placement_group(host.group)

    # ---- what comes from them

    def wait(self, timeout_s: float | None) -> list[Event]:
        """Wait for events; see `Runners`."""
        if not self._events:
            soon = bool(self._preparing and self._idle)
            self._collect(_STUCK_S if soon and (timeout_s is None or timeout_s > _STUCK_S) else timeout_s)
        events, self._events = self._events, []
        self._look_at_time()
        return events

    def _collect(self, timeout_s: float | None) -> None:
        awaited = [*self._hosts, *self._stopping, *self._withdrawn]
        if not awaited:
            time.sleep(min(timeout_s if timeout_s is not None else 0.05, 0.05))
            return
        ready, rest = self._narke.wait(awaited, num_returns=1, timeout=timeout_s)
        if ready and rest:
            more, _ = self._narke.wait(rest, num_returns=len(rest), timeout=0)
            ready += more
        for reference in ready:
            if reference in self._stopping:
                self._on_stopped(reference)
            elif reference in self._withdrawn:
                self._events.append(Event("refused", self._withdrawn.pop(reference)))
            elif reference in self._hosts:
                self._on_answer(reference)

    def _on_stopped(self, reference: Any) -> None:
        host, _ = self._stopping.pop(reference)
        try:
            free = self._narke.get(reference)
        except Exception as error:
            logger.warning("a trial did not end cleanly: %s", error)
            free = False
        if free:
            self._make_idle(host)
        else:
            self._end(host)
            self._events.append(Event("room", None))

    def _on_answer(self, reference: Any) -> None:
        host = self._hosts.pop(reference)
        kind = host.kind
        try:
            value = self._narke.get(reference)
        except Exception as error:
            self._on_error(host, kind, error)
            return
        if kind == "ready":
            self._asked.remove(host)
            self._warned = False
            self._make_idle(host)
            return
        if kind == "result":
            self._judge(host, *value)
        self._events.append(Event(kind, host.trial, value))

    def _judge(self, host: _Host, given: list[tuple[dict[str, Any], Any]], is_free: bool) -> None:
        """See whether a host is worth giving trials in advance."""
        began_at, host.began_at = host.began_at, None
        host.took_s = None
        if is_free and began_at is not None:
            # One that was given in advance may have begun long before this was known here.
            took_s = max(time.monotonic() - began_at, given[0][0].get(TIME_TOTAL_S) or 0.0)
            host.took_s = took_s if took_s < _QUICK_S else None
        if not is_free:
            self._refuse_next(host)

    def _on_error(self, host: _Host, kind: str, error: Exception) -> None:
        if kind == "ready":
            self._asked.remove(host)
            self._end(host)
            self._events.append(Event("hopeless", None, error, host.request))
        else:
            self._events.append(Event("failed", host.trial, error))

    def _look_at_time(self) -> None:
        now = time.monotonic()
        if self._preparing:
            self._look_at_prepared(now)
        for reference, (host, deadline) in list(self._stopping.items()):
            if now > deadline:
                del self._stopping[reference]
                self._end(host)
                self._events.append(Event("room", None))
        if self._asked and now - self._looked_s > _LOOK_S:
            self._looked_s = now
            self._look_at_feasibility(now)

    def _look_at_feasibility(self, now: float) -> None:
        """Give a request up that this cluster can never fulfil; warn of one that waits while nothing runs."""
        host = self._asked[0]
        waited_s = now - host.asked_at
        if waited_s < min(_give_up_s(), _warn_s()):
            return
        missing = lacking(host.request, [node["Resources"] for node in self._narke.nodes() if node["Alive"]])
        if missing and waited_s >= _give_up_s():
            self._give_up(host.request, f"{missing}. It was not there within {waited_s:.0f} seconds")
        elif waited_s >= _warn_s() and not self._warned and (missing or not self._by_trial):
            self._warned = True
            logger.warning(
                "No trial could start within %.0f seconds: a trial needs %s; %s. Lower its resources "
                "(tune.with_resources, ScalingConfig.num_workers), free or add nodes.",
                waited_s,
                host.request.bundles,
                missing or "other work holds the cluster",
            )

    def _give_up(self, request: Any, why: str) -> None:
        for asked in self._asked:
            self._end(asked)
        self._asked = []
        error = RuntimeError(
            f"a trial needs {request.bundles} ({request.strategy}), which does not fit this cluster even when nothing "
            f"else runs: {why}. Lower its resources (tune.with_resources, ScalingConfig.num_workers), or add nodes; "
            "TUNE_INFEASIBLE_TRIAL_TIMEOUT_S says how long trials wait for nodes to be added"
        )
        self._events.append(Event("hopeless", None, error, request))

    def shutdown(self) -> None:
        """End all hosts; trials that are just ending get the time that is left to them."""
        while self._stopping:
            self._collect(0.05)
            self._look_at_time()
        self._events = []
        hosts = [*self._hosts.values(), *self._idle, *self._by_trial.values()]
        for host in {id(host): host for host in hosts}.values():
            self._end(host)
        self._idle, self._asked = [], []
        self._by_trial.clear()
