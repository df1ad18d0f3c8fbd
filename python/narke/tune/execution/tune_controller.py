"""`TuneController`: decides what trials do next.

Its methods take what happened (`Event`) and tell `Runners` what to do; it starts no process, and its clock and its
journal are given to it. Trials are PENDING until a host takes them, RUNNING while they have one, PAUSED when a
scheduler took it away, TERMINATED or ERROR at the end. What must survive a crash is in the journal before anything
acts on it.
"""

from __future__ import annotations

import logging
import os
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from narke.tune._checkpoints import TrainingResult
from narke.tune._files import write_whole
from narke.tune.callback import CallbackList
from narke.tune.error import TuneError
from narke.tune.execution.runners import Event, Runners
from narke.tune.experiment._trials_view import TrialsView
from narke.tune.experiment.trial import Trial
from narke.tune.result import DONE, RESULT_DUPLICATE, SHOULD_CHECKPOINT
from narke.tune.schedulers.trial_scheduler import FIFOScheduler, TrialScheduler
from narke.tune.search.basic_variant import BasicVariantGenerator
from narke.tune.search.util import flattened
from narke.tune.stopper import NoopStopper, Stopper

if TYPE_CHECKING:
    from narke.tune.execution.journal import Journal
    from narke.tune.search.search_algorithm import SearchAlgorithm
    from narke.tune.tune_config import ResumeConfig

__all__ = ["TrialRunnerWrapper", "TuneController"]

logger = logging.getLogger(__name__)
_IDLE_S = 1.0


class TuneController:
    """Runs the trials of an experiment; `step` until `is_finished`.

    Args:
        search_alg: makes the trials.
        placeholder_resolvers: values for placeholders in configurations.
        scheduler: decides which trials go on.
        stopper: ends trials, or all.
        resume_config: what becomes of restored trials.
        fail_fast: True stops all at the first failure; "raise" raises it.
        checkpoint_period: seconds between writes of the searcher's state; "auto" keeps them below 5 % of the time.
        callbacks: called when things happen.
        metric: what every result must have, or a list; None for anything.
        trial_checkpoint_config: in place of the experiment's.
        storage: the experiment's.
        reuse_actors: let trainables become other trials.
        resource_manager_factory: kept for programs that pass it.
        runners: the shell that runs trials.
        journal: where the state is written.
        clock: gives seconds.
    """

    CKPT_FILE_TMPL = "experiment_state-{}.json"

    def __init__(
        self,
        *,
        search_alg: SearchAlgorithm | None = None,
        placeholder_resolvers: dict[tuple, Any] | None = None,
        scheduler: TrialScheduler | None = None,
        stopper: Stopper | None = None,
        resume_config: ResumeConfig | None = None,
        fail_fast: bool | str = False,
        checkpoint_period: str | float | None = None,
        callbacks: list | CallbackList | None = None,
        metric: str | list[str] | None = None,
        trial_checkpoint_config: Any = None,
        storage: Any = None,
        reuse_actors: bool = False,
        resource_manager_factory: Any = None,
        _trainer_api: bool = False,
        runners: Runners | None = None,
        journal: Journal | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._search_alg = search_alg or BasicVariantGenerator()
        self._placeholder_resolvers = placeholder_resolvers or {}
        self._scheduler_alg = scheduler or FIFOScheduler()
        self._in_order = type(self._scheduler_alg) is FIFOScheduler
        self._stopper = stopper or NoopStopper()
        self._fail_fast = fail_fast
        self._callbacks = callbacks if isinstance(callbacks, CallbackList) else CallbackList(callbacks or [])
        self._metrics = [metric] if isinstance(metric, str) else list(metric or [])
        self._trial_checkpoint_config = trial_checkpoint_config
        self._storage = storage
        self._runners = runners
        self._journal = journal
        self._clock = clock
        self._checkpoint_period = checkpoint_period
        self._trials: dict[str, Trial] = {}
        self._live: dict[str, Trial] = {}
        self._folders: dict[str, str] = {}  # whose it is, by name; of those that trial_dirname_creator named
        self._pending: dict[str, Trial] = {}
        self._prepared: dict[str, Trial] = {}  # pending ones that a host begins by itself
        self._running: dict[str, Trial] = {}
        self._max_pending = 1
        self._iteration = 0
        self._should_stop = False
        self._has_errored = False
        self._resumed = False
        self._start_time = time.time()
        self._pause_after_save: set[str] = set()
        self._stop_after_save: set[str] = set()
        self._noop: set[str] = set()
        self._searcher_saved = (clock(), 0.0)
        if resume_config is not None:
            self.resume(resume_config)

    # ---- what schedulers and callbacks see

    @property
    def resumed(self) -> bool:
        """Whether this goes on with trials of an earlier run."""
        return self._resumed

    @property
    def search_alg(self) -> SearchAlgorithm:
        """What makes the trials."""
        return self._search_alg

    @property
    def scheduler_alg(self) -> TrialScheduler:
        """What decides which go on."""
        return self._scheduler_alg

    @property
    def experiment_path(self) -> str | None:
        """The experiment's folder in the storage."""
        return self._storage.experiment_fs_path if self._storage else None

    @property
    def experiment_state_file_name(self) -> str:
        """The name of the file with the state."""
        return self.CKPT_FILE_TMPL.format(self._journal.stamp if self._journal else "none")

    @property
    def experiment_state_path(self) -> str:
        """The path of the file with the state."""
        return os.path.join(self.experiment_path or "", self.experiment_state_file_name)

    def get_trial(self, tid: str) -> Trial | None:
        """Return a trial by its identifier."""
        return self._trials.get(tid)

    def get_trials(self) -> list[Trial]:
        """Return all trials, in the order they were made."""
        return list(self._trials.values())

    def get_live_trials(self) -> set[Trial]:
        """Return those that have not ended."""
        return set(self._live.values())

    def candidates(self) -> list[Trial]:
        """Return the trials that have not ended and do not run, in the order they were made."""
        return [trial for trial in self._live.values() if trial.trial_id not in self._running]

    def first_pending(self) -> Trial | None:
        """Return the trial that has been pending longest."""
        return next(iter(self._pending.values()), None)

    def add_trial(self, trial: Trial) -> None:
        """Take a new trial."""
        if self._placeholder_resolvers:
            trial.resolve_config_placeholders(self._placeholder_resolvers)
        if self._trial_checkpoint_config is not None:
            trial.checkpoint_config = self._trial_checkpoint_config
        self._trials[trial.trial_id] = trial
        if trial.custom_dirname is not None:
            self._give_own_folder(trial)
        if trial.is_finished():
            return
        self._live[trial.trial_id] = trial
        self._place(trial)
        self._write(trial)
        self._scheduler_alg.on_trial_add(self, trial)

    def _give_own_folder(self, trial: Trial) -> None:
        """Trials for which `trial_dirname_creator` gives one name do not share its folder."""
        if self._folders.setdefault(trial.relative_logdir, trial.trial_id) != trial.trial_id:
            trial.relative_logdir = f"{trial.relative_logdir}_{trial.trial_id}"
            self._folders[trial.relative_logdir] = trial.trial_id

    def has_resources_for_trial(self, trial: Trial) -> bool:
        """True: trials wait for resources on their own."""
        return True

    # ---- the loop

    def setup_experiments(self, experiments: list, total_num_samples: int | None = None) -> None:
        """Take the experiments to make trials of.

        Args:
            experiments: they.
            total_num_samples: trials that there will be; as the search says if None.
        """
        self._search_alg.add_configurations(experiments)
        total_num_samples = self._search_alg.total_samples if total_num_samples is None else total_num_samples
        spec = experiments[0].public_spec if experiments else {}
        self._callbacks.setup(
            stop=spec.get("stop"), num_samples=spec.get("num_samples"), total_num_samples=total_num_samples
        )

    def update_max_pending_trials(self, max_pending_trials: int | None = None) -> None:
        """Set how many trials may wait; None keeps the limit."""
        if max_pending_trials is not None:
            self._max_pending = max(1, max_pending_trials)

    def update_pending_trial_resources(self, resources: Any) -> None:
        """Change what waiting trials hold."""
        for trial in self._pending.values():
            trial.update_resources(resources)

    def is_finished(self) -> bool:
        """Whether all trials ended and none will come."""
        if self._should_stop or self._scheduler_alg is None:
            return not self._running
        return not self._live and self._search_alg.is_finished()

    def step(self) -> None:
        """Make trials, start them, and take what comes next.

        Raises:
            TuneError: a result lacks the metric, a trial failed with ``fail_fast="raise"``, or nothing can go on.
        """
        if self.is_finished():
            raise TuneError("Called step when all trials finished?")
        self.on_step_begin()
        self._callbacks.on_step_begin(iteration=self._iteration, trials=self._all())
        if self._stopper.stop_all():
            self.request_stop_experiment()
        if not self._should_stop:
            self._make_trials()
            self._start_trials()
        for event in self._shell().wait(_IDLE_S if self._live else 0.05):
            self._on_event(event)
        if self._should_stop:
            self._stop_all()
        self._iteration += 1
        self.on_step_end()
        self._callbacks.on_step_end(iteration=self._iteration, trials=self._all())
        self.checkpoint()

    def _all(self) -> TrialsView:
        return TrialsView(self._trials)

    def on_step_begin(self) -> None:
        """Called before each step; for subclasses."""

    def on_step_end(self) -> None:
        """Called after each step; for subclasses."""

    def _shell(self) -> Runners:
        if self._runners is None:
            raise TuneError("this controller has no runners: it can only be looked at")
        return self._runners

    def _make_trials(self) -> None:
        while len(self._pending) < self._max_pending and not self._search_alg.is_finished():
            trial = self._search_alg.next_trial()
            if trial is None:
                break
            self.add_trial(trial)

    def _start_trials(self) -> None:
        self._shell().want(len(self._pending))
        while True:
            trial = self._scheduler_alg.choose_trial_to_run(self)
            if trial is None or trial.is_finished() or trial.trial_id in self._running:
                return
            if not self._start(trial):
                return self._prepare_trials()
            self._make_trials()

    def _prepare_trials(self) -> None:
        """Let busy hosts know what comes next, where no result of the trials before can change it."""
        # A searcher that learns hears of results first.
        far = isinstance(self._search_alg, BasicVariantGenerator)
        while (trial := self.first_pending()) is not None and self._lets_run(trial):
            if self._beginning(trial) is not None or not self._shell().prepare(trial, far):
                return
            self._prepared[trial.trial_id] = self._pending.pop(trial.trial_id)
            if trial.local_path is not None:
                trial.init_local_path()  # so that the host need not
            self._make_trials()

    def _take_back(self, trial: Trial) -> None:
        """A prepared trial waits again, before all others."""
        if self._prepared.pop(trial.trial_id, None) is not None:
            self._pending = {trial.trial_id: trial, **self._pending}

    def _beginning(self, trial: Trial) -> TrainingResult | None:
        """What a trial begins from."""
        restore = trial.resume_from or trial.checkpoints.latest
        if restore is None and trial.restore_path:
            from narke.train._checkpoint import Checkpoint

            restore = TrainingResult(Checkpoint(trial.restore_path), {})
        return restore

    def _start(self, trial: Trial) -> bool:
        restore = self._beginning(trial)
        if not self._shell().start(trial, restore, self._lets_run(trial)):
            return False
        self._on_begun(trial, restore)
        return True

    def _on_begun(self, trial: Trial, restore: TrainingResult | None) -> None:
        was_paused = trial.status == Trial.PAUSED
        trial.begin_from(restore)
        if was_paused:
            self._tell_searcher(trial, "on_unpause")
        self._set_status(trial, Trial.RUNNING)
        self._notify("on_trial_start", trial)

    def _lets_run(self, trial: Trial) -> bool:
        """Whether no result of a trial can stop it."""
        return self._in_order and not trial.stopping_criterion and isinstance(self._stopper, NoopStopper)

    def _place(self, trial: Trial) -> None:
        """Keep the sets of trials by status."""
        tid = trial.trial_id
        for status, group in ((Trial.PENDING, self._pending), (Trial.RUNNING, self._running)):
            if trial.status == status:
                group[tid] = trial
            else:
                group.pop(tid, None)
        self._prepared.pop(tid, None)
        if trial.is_finished():
            self._live.pop(tid, None)

    def _set_status(self, trial: Trial, status: str, keep: bool = True) -> None:
        if trial.status == status:
            return
        trial.set_status(status)
        self._place(trial)
        # That a trial runs need not survive: after a crash it is begun again either way.
        if keep and status != Trial.RUNNING:
            self._write(trial)

    _set_trial_status = _set_status

    def _write(self, trial: Trial) -> None:
        if self._journal is not None:
            self._journal.write(trial)

    def _notify(self, name: str, trial: Trial, **more: Any) -> None:
        getattr(self._callbacks, name)(iteration=self._iteration, trials=self._all(), trial=trial, **more)

    def _tell_searcher(self, trial: Trial, name: str) -> None:
        searcher = getattr(self._search_alg, "searcher", None)
        if searcher is not None:
            getattr(searcher, name)(trial.trial_id)

    # ---- what comes

    def _on_event(self, event: Event) -> None:
        trial = event.trial
        if event.kind == "hopeless":
            self._on_hopeless(event)
        elif event.kind == "refused" and trial is not None:
            self._take_back(trial)
        if trial is None or trial.trial_id not in self._running:
            return
        if event.kind == "result":
            self._on_outcome(trial, *event.value)
        elif event.kind == "saved":
            self._on_saved(trial, event.value)
        elif event.kind == "failed":
            self._on_failure(trial, event.value)

    def _on_hopeless(self, event: Event) -> None:
        """No host with these resources comes: all trials that wait for one fail; trying again would not help."""
        for trial in [*self._pending.values(), *self.candidates()]:
            if trial.placement_group_factory == event.request and not trial.is_finished():
                self._set_status(trial, Trial.RUNNING)
                self._fail(trial, event.value)
                if str(self._fail_fast).lower() == "raise":
                    raise event.value

    def _on_outcome(
        self, trial: Trial, given: list[tuple[dict, TrainingResult | None]], is_free: bool
    ) -> None:
        if is_free:
            begun = self._shell().release(trial)
            if begun is not None:
                self._on_begun(begun, None)
            if self._in_order and not self._should_stop:
                self._start_trials()  # the host need not wait until everybody is told
        if trial.is_restoring:
            trial.on_restore()
            self._notify("on_trial_restore", trial)
        try:
            for at, (result, made) in enumerate(given):
                if trial.trial_id not in self._running:
                    return  # a callback has stopped it
                self._on_result(trial, result, made, is_free, at + 1 < len(given))
        except TuneError:
            raise
        except Exception as error:
            raise TuneError(traceback.format_exc()) from error

    def _on_result(
        self, trial: Trial, result: dict, made: TrainingResult | None, is_free: bool, is_over: bool
    ) -> None:
        """Take a result.

        Args:
            trial: whose.
            result: as it came.
            made: the checkpoint that came with it.
            is_free: the trial has left its host.
            is_over: the next result, which is here too, is the last.
        """
        duplicate = bool(result.pop(RESULT_DUPLICATE, False))
        if _is_equal(result.get("config"), trial.config):
            result["config"] = trial.config  # one object instead of two
        if duplicate:
            result = {**trial.last_result, **result} if trial.has_reported_at_least_once else result
        if made is not None:
            self._keep_checkpoint(trial, made)
        decision = self._decide(trial, result, duplicate)
        # A host that may go on does so while everybody is told of the result.
        goes_on = decision == TrialScheduler.CONTINUE and not is_over and trial.trial_id in self._running
        saves = trial.checkpoint_freq > 0 or (result.get(SHOULD_CHECKPOINT) and made is None)
        steps = goes_on and not saves
        if steps:
            self._shell().step(trial)
        self._tell_result(trial, result, duplicate)
        if decision == TrialScheduler.STOP:
            result[DONE] = True
            self._end(trial, result, duplicate, is_free)
        elif decision == TrialScheduler.PAUSE:
            self.pause_trial(trial)
        elif goes_on and not steps and trial.trial_id in self._running:
            if result.get(SHOULD_CHECKPOINT) and made is None or trial.should_checkpoint():
                self.save_trial(trial)
            else:
                self._shell().step(trial)

    def _decide(self, trial: Trial, result: dict, duplicate: bool) -> str:
        """What a result means for its trial; scheduler and searcher have seen it afterwards."""
        flat = flattened(result)
        if not duplicate:
            self._check_metrics(flat, trial)
        if result.get(DONE):
            decision = TrialScheduler.STOP
        elif self._says_stop(trial, flat, result) or trial.should_stop(result):
            decision = TrialScheduler.STOP
        else:
            decision = self._scheduler_alg.on_trial_result(self, trial, flat)
        if decision == TrialScheduler.STOP:
            result[DONE] = True
            if trial.experiment_tag:
                result.setdefault("experiment_tag", trial.experiment_tag)
        else:
            self._search_alg.on_trial_result(trial.trial_id, flat)
        return decision

    def _says_stop(self, trial: Trial, flat: dict, result: dict) -> bool:
        """Whether the stopper ends a trial: it finds what is nested, the configuration too, and "a/b" beside it."""
        if isinstance(self._stopper, NoopStopper):
            return False
        return bool(self._stopper(trial.trial_id, {**flat, **result}))

    def _tell_result(self, trial: Trial, result: dict, duplicate: bool) -> None:
        if not duplicate:
            self._notify("on_trial_result", trial, result=dict(result))
            trial.update_last_result(result)
        else:
            trial.run_metadata.last_result = result
            result.setdefault("config", trial.config)

    def _end(self, trial: Trial, result: dict, duplicate: bool, is_free: bool) -> None:
        flat = flattened(result)
        # Also of the last result, as of those before.
        saves = trial.checkpoint_at_end or trial.should_checkpoint()
        if saves and not duplicate and not is_free and trial.trial_id in self._running:
            self._stop_after_save.add(trial.trial_id)
            self._shell().save(trial)
            return
        self._scheduler_alg.on_trial_complete(self, trial, flat)
        self._search_alg.on_trial_complete(trial.trial_id, result=flat)
        self._finish(trial, is_free)

    def _finish(self, trial: Trial, is_free: bool = False) -> None:
        if trial.export_formats and trial.trial_id in self._running and not is_free:
            self._shell().export(trial, trial.export_formats)
        self._set_status(trial, Trial.TERMINATED)
        if not is_free:
            self._shell().stop(trial)
        elif not self._in_order and not self._should_stop:
            self._start_trials()
        self._notify("on_trial_complete", trial)

    def _check_metrics(self, flat: dict[str, Any], trial: Trial) -> None:
        """Refuse a result without the metrics that the experiment, scheduler and searcher need.

        Raises:
            TuneError: one is missing.
        """
        if os.environ.get("TUNE_DISABLE_STRICT_METRIC_CHECKING") == "1" or flat.get("__trial_incomplete__"):
            return
        needed = (
            ("tune.TuneConfig()", self._metrics),
            (type(self._scheduler_alg).__name__, _as_list(self._scheduler_alg.metric)),
            (type(self._search_alg).__name__, _as_list(self._search_alg.metric)),
        )
        for who, metrics in needed:
            missing = [metric for metric in metrics if metric not in flat]
            if missing:
                reported = [key for key in flat if not key.startswith("config/")]
                raise TuneError(
                    "Trial returned a result which did not include the specified metric(s) "
                    f"`{', '.join(missing)}` that "
                    f"`{who}` expects. Make sure your calls to `tune.report()` include the metric, or set the "
                    "TUNE_DISABLE_STRICT_METRIC_CHECKING environment variable to 1. Trial "
                    f"{trial} reported: {', '.join(reported)}"
                )

    # ---- checkpoints

    def save_trial(self, trial: Trial) -> None:
        """Have a running trial make a checkpoint."""
        trial.temporary_state.saving_to = True
        self._shell().save(trial)

    def _on_saved(self, trial: Trial, made: TrainingResult | None) -> None:
        trial.temporary_state.saving_to = None
        tid = trial.trial_id
        if made is not None and made.checkpoint is not None:
            self._keep_checkpoint(trial, made)
        if tid in self._stop_after_save:
            self._stop_after_save.discard(tid)
            flat = flattened(trial.last_result)
            self._scheduler_alg.on_trial_complete(self, trial, flat)
            self._search_alg.on_trial_complete(tid, result=flat)
            self._finish(trial)
        elif tid in self._pause_after_save:
            self._pause_after_save.discard(tid)
            self._pause_now(trial)
        else:
            self._shell().step(trial)

    def _keep_checkpoint(self, trial: Trial, made: TrainingResult) -> None:
        from narke.train._storage import delete

        dropped = trial.on_checkpoint(made)
        self._write(trial)
        for each in dropped:
            if each.checkpoint is not None:
                delete(each.checkpoint.filesystem, each.checkpoint.path)
        self._notify("on_trial_save", trial)
        self._notify("on_checkpoint", trial, checkpoint=made.checkpoint)

    # ---- what schedulers ask for

    def pause_trial(self, trial: Trial, should_checkpoint: bool = True) -> None:
        """Take a trial's host away; it goes on from a checkpoint when the scheduler chooses it.

        Args:
            trial: it runs.
            should_checkpoint: make a checkpoint first.
        """
        if trial.trial_id not in self._running:
            self._set_status(trial, Trial.PAUSED)
            return
        if should_checkpoint:
            self._pause_after_save.add(trial.trial_id)
            self.save_trial(trial)
        else:
            self._pause_now(trial)

    def _pause_now(self, trial: Trial) -> None:
        self._tell_searcher(trial, "on_pause")
        self._shell().stop(trial)
        self._set_status(trial, Trial.PAUSED)

    def unpause_trial(self, trial: Trial) -> None:
        """Let a paused trial wait for a host; one that is just being paused goes on at once."""
        if trial.trial_id in self._pause_after_save:
            self._pause_after_save.discard(trial.trial_id)
        elif trial.status == Trial.PAUSED:
            self._set_status(trial, Trial.PENDING)

    def stop_trial(self, trial: Trial) -> None:
        """End a trial now; schedulers and searcher are told."""
        if trial.is_finished():
            return
        self._pause_after_save.discard(trial.trial_id)
        self._stop_after_save.discard(trial.trial_id)
        if trial.status in (Trial.PENDING, Trial.PAUSED):
            self._scheduler_alg.on_trial_remove(self, trial)
        else:
            self._scheduler_alg.on_trial_complete(self, trial, flattened(trial.last_result))
        self._search_alg.on_trial_complete(trial.trial_id, result=flattened(trial.last_result) or None)
        self._finish(trial)

    def request_stop_trial(self, trial: Trial) -> None:
        """End a trial."""
        self.stop_trial(trial)

    def request_stop_experiment(self) -> None:
        """End all trials."""
        self._should_stop = True
        self._search_alg.set_finished()

    def _stop_all(self) -> None:
        for trial in list(self._live.values()):
            if not (self._fail_fast and self._has_errored):
                self.stop_trial(trial)
            elif trial.trial_id in self._running:
                # Restored later, these trials go on.
                self._shell().stop(trial, failed=True)
                self._set_status(trial, Trial.PENDING)

    # ---- failures

    def _on_failure(self, trial: Trial, error: Exception) -> None:
        cause = _user_error(error)
        if self._fail_fast == "raise" or str(self._fail_fast).lower() == "raise":
            self._fail(trial, cause)
            raise cause
        trial.handle_error(cause)
        self._shell().stop(trial, failed=True)
        self._pause_after_save.discard(trial.trial_id)
        self._stop_after_save.discard(trial.trial_id)
        trial.temporary_state.saving_to = None
        if trial.should_recover() and not self._should_stop:
            self._set_status(trial, Trial.PENDING)
            self._notify("on_trial_recover", trial)
            return
        self._fail(trial, cause, handled=True)

    def _fail(self, trial: Trial, error: Exception, handled: bool = False) -> None:
        if not handled:
            trial.handle_error(error)
            self._shell().stop(trial, failed=True)
        self._has_errored = True
        self._scheduler_alg.on_trial_error(self, trial)
        self._search_alg.on_trial_complete(trial.trial_id, error=True)
        self._set_status(trial, Trial.ERROR)
        self._notify("on_trial_error", trial)
        if self._fail_fast:
            logger.error("Trial %s failed, and fail_fast stops the experiment", trial)
            self.request_stop_experiment()

    # ---- the state

    def checkpoint(self, force: bool = False, wait: bool = False) -> None:
        """Write the searcher's and the scheduler's state when it is time for it; the trials' is written already.

        Args:
            force: now.
            wait: kept for programs that pass it.
        """
        if self._journal is None:
            return
        self._journal.sync(force)
        saved_at, cost_s = self._searcher_saved
        period = self._checkpoint_period
        least_s = float(period) if isinstance(period, (int, float)) else max(1.0, 20 * cost_s)
        if force or self._clock() - saved_at > least_s:
            started = self._clock()
            self.save_to_dir()
            self._searcher_saved = (self._clock(), self._clock() - started)

    def save_to_dir(self) -> None:
        """Write the states of searcher, scheduler and callbacks."""
        if self._journal is None:
            return
        folder, stamp = self._journal.folder, self._journal.stamp
        if not isinstance(self._search_alg, BasicVariantGenerator):
            self._search_alg.save_to_dir(folder, session_str=stamp)
            # So that a restored searcher is told only of trials that ended after this.
            seen = [trial.trial_id for trial in self._trials.values() if trial.is_finished()]
            write_whole(os.path.join(folder, f"searcher-seen-{stamp}.txt"), "\n".join(seen))
        self._callbacks.save_to_dir(folder, session_str=stamp)
        if self._scheduler_alg.is_restorable:
            self._scheduler_alg.save(os.path.join(folder, f"scheduler-state-{stamp}.pkl"))

    def run_facts(self) -> dict[str, Any]:
        """What the snapshot holds besides the trials."""
        search = self._search_alg
        all_made = isinstance(search, BasicVariantGenerator) and search.is_exhausted
        return {
            "iteration": self._iteration,
            "start_time": self._start_time,
            "should_stop": self._should_stop,
            "all_made": search.total_samples if all_made else None,
        }

    def resume(self, resume_config: ResumeConfig) -> None:
        """Mark this as going on; `narke.tune.impl.resuming` puts the trials in."""
        self._resumed = True

    def cleanup(self) -> None:
        """End all hosts, and write the state."""
        self._shell().shutdown()
        if self._journal is not None:
            self.checkpoint(force=True)

    def end_experiment_callbacks(self) -> None:
        """Tell the callbacks that all ended."""
        self._callbacks.on_experiment_end(trials=self.get_trials())


class TrialRunnerWrapper:
    """A controller under the name that schedulers of older programs know.

    Args:
        tune_controller: the controller.
        trial_executor: what `trial_executor` is.
        runner_whitelist_attr, executor_whitelist_attr: names that may be used without a warning.
    """

    def __init__(
        self,
        tune_controller: TuneController,
        trial_executor: Any,
        runner_whitelist_attr: set | None = None,
        executor_whitelist_attr: set | None = None,
    ) -> None:
        self._tune_controller = tune_controller
        self._trial_executor = trial_executor

    def __getattr__(self, attr: str) -> Any:
        if attr == "trial_executor":
            return self._trial_executor
        return getattr(self._tune_controller, attr)


def _is_equal(one: Any, other: Any) -> bool:
    try:
        return bool(one == other)
    except Exception:  # arrays and other values that cannot be compared as one
        return False


def _as_list(metric: Any) -> list[str]:
    if metric is None or metric == "_metric":
        return []
    return [metric] if isinstance(metric, str) else [each for each in metric if isinstance(each, str)]


def _user_error(error: Exception) -> Exception:
    """The error of the trainable's own code, with the worker's traceback in its text."""
    return error
