"""`run` and `run_experiments`: run trials to the end."""

from __future__ import annotations

import copy
import datetime
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from narke.tune._naming import dirname_stamp
from narke.tune.analysis.experiment_analysis import ExperimentAnalysis
from narke.tune.error import TuneError
from narke.tune.execution.journal import Journal, find_state
from narke.tune.execution.runners import ActorRunners
from narke.tune.execution.tune_controller import TuneController
from narke.tune.experiment.experiment import Experiment, _convert_to_experiment_list, checkpoint_arguments
from narke.tune.experiment.trial import Trial
from narke.tune.impl.resuming import put_trials_back, resume_config_of
from narke.tune.registry import get_trainable_cls
from narke.tune.schedulers import FIFOScheduler, create_scheduler
from narke.tune.search import BasicVariantGenerator, ConcurrencyLimiter, SearchGenerator, create_searcher
from narke.tune.search.search_algorithm import SearchAlgorithm
from narke.tune.search.searcher import Searcher
from narke.tune.search.util import set_search_properties_backwards_compatible
from narke.tune.search.variant_generator import has_unresolved_values
from narke.tune.stopper import CombinedStopper, Stopper
from narke.tune.syncer import upload_callbacks
from narke.tune.utils.callback import default_callbacks

if TYPE_CHECKING:
    from narke.tune.tune_config import ResumeConfig

__all__ = ["run", "run_experiments"]

logger = logging.getLogger(__name__)


def run(
    run_or_experiment: str | Callable | type | Experiment | Sequence[Experiment],
    *,
    name: str | None = None,
    metric: str | None = None,
    mode: str | None = None,
    stop: Any = None,
    time_budget_s: int | float | datetime.timedelta | None = None,
    config: dict[str, Any] | None = None,
    resources_per_trial: Any = None,
    num_samples: int = 1,
    storage_path: str | None = None,
    storage_filesystem: Any = None,
    search_alg: Searcher | SearchAlgorithm | str | None = None,
    scheduler: Any = None,
    checkpoint_config: Any = None,
    verbose: Any = None,
    progress_reporter: Any = None,
    log_to_file: bool | str | Sequence = False,
    trial_name_creator: Callable | None = None,
    trial_dirname_creator: Callable | None = None,
    sync_config: Any = None,
    export_formats: Sequence | None = None,
    max_failures: int = 0,
    fail_fast: bool | str = False,
    restore: str | None = None,
    resume: bool | str | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool = False,
    raise_on_failed_trial: bool = True,
    callbacks: Sequence | None = None,
    max_concurrent_trials: int | None = None,
    keep_checkpoints_num: int | None = None,
    checkpoint_score_attr: str | None = None,
    checkpoint_freq: int = 0,
    checkpoint_at_end: bool = False,
    chdir_to_trial_dir: Any = "DEPRECATED",
    local_dir: str | None = None,
    loggers: Sequence | None = None,
    _remote: bool | None = None,
    _remote_string_queue: Any = None,
    _entrypoint: Any = None,
    _on_experiment: Callable | None = None,
    **old: Any,
) -> ExperimentAnalysis:
    """Run an experiment to its end.

    Args:
        run_or_experiment: the trainable (function, class, registered name), or experiments.
        metric, mode: what is optimized: a reported name, and "min" or "max".
        search_alg, scheduler: searcher and scheduler, or their names.
        verbose: 0 shows nothing, 1 tables, 2 and more also results; progress_reporter shows them in its way.
        fail_fast: True stops all at the first failure; "raise" raises it.
        resume: go on with the experiment `name`: True, "AUTO", "LOCAL", "ERRORED_ONLY", ...; or a resume_config.
        reuse_actors: let one object of a class run several trials.
        raise_on_failed_trial: raise if trials failed.
        callbacks, max_concurrent_trials: as in `RunConfig` and `TuneConfig`; the others as of `Experiment`.
        checkpoint_freq, checkpoint_at_end, keep_checkpoints_num, checkpoint_score_attr, local_dir, loggers, old: of
            older programs.

    Raises:
        TuneError: trials failed, a result lacks the metric, or the trainable is not known.
        ValueError: an argument is out of its range.
    """
    return _run(dict(locals()))


_OF_EXPERIMENTS = (
    "name stop time_budget_s config resources_per_trial num_samples storage_path storage_filesystem local_dir "
    "sync_config checkpoint_config trial_name_creator trial_dirname_creator log_to_file export_formats "
    "max_failures restore"
).split()
_WITHOUT_EFFECT = {"queue_trials", "server_port", "trial_executor", "with_server", "global_checkpoint_period"}


def _run(given: dict[str, Any]) -> ExperimentAnalysis:
    """Run what `run` was given."""
    _refuse_unknown(given["old"], _WITHOUT_EFFECT)
    metric, mode = given["metric"], given["mode"]
    _check_mode(mode)
    _connect()
    if given["checkpoint_config"] is None:
        given["checkpoint_config"] = _old_checkpoint_config(given)
    if given["fail_fast"] and given["max_failures"] != 0:
        raise ValueError("max_failures must be 0 if fail_fast=True.")
    experiments = _experiments(given["run_or_experiment"], **{name: given[name] for name in _OF_EXPERIMENTS})
    if given["_on_experiment"] is not None:
        given["_on_experiment"](experiments[0])
    session = _Run(
        experiments,
        _search(given["search_alg"], given["max_concurrent_trials"], metric, mode, experiments),
        _scheduler(given["scheduler"], metric, mode, experiments[0]),
        _aim(metric, mode),
        given["fail_fast"],
        given["reuse_actors"],
        list(given["callbacks"] or []),
        given["loggers"],
    )
    session.show(given["verbose"], given["progress_reporter"], metric, mode)
    if given["resume_config"] is not None:
        session.resume(given["resume"] != "AUTO", given["resume_config"])
    elif given["resume"]:
        session.resume(*resume_config_of(given["resume"]))
    return session.run(given["raise_on_failed_trial"], metric, mode)


def _old_checkpoint_config(given: dict[str, Any]) -> Any:
    """The configuration that arguments of older programs mean, None without them."""
    names = ("checkpoint_freq", "checkpoint_at_end", "keep_checkpoints_num", "checkpoint_score_attr")
    old = {name: given[name] for name in names}
    if not any(old.values()):
        return None
    from narke.air.config import CheckpointConfig

    return CheckpointConfig(**checkpoint_arguments(**old))


def run_experiments(
    experiments: Experiment | dict | Sequence[Experiment],
    scheduler: Any = None,
    verbose: Any = None,
    progress_reporter: Any = None,
    resume: bool | str | None = None,
    resume_config: ResumeConfig | None = None,
    reuse_actors: bool = False,
    raise_on_failed_trial: bool = True,
    concurrent: bool = True,
    callbacks: Sequence | None = None,
    _remote: bool | None = None,
    **old: Any,
) -> list[Trial]:
    """Run several experiments.

    Args:
        experiments: `Experiment`s, or {name: {"run": ..., "config": ..., ...}}.
        concurrent: all at once, else one after the other.
        scheduler, verbose, progress_reporter, resume, resume_config, reuse_actors, raise_on_failed_trial, callbacks:
            see `run`.

    Returns:
        all trials.
    """
    _connect()
    found = _convert_to_experiment_list(experiments)
    groups = [found] if concurrent else [[each] for each in found]
    trials: list[Trial] = []
    for group in groups:
        trials += run(
            group,
            scheduler=scheduler,
            verbose=verbose,
            progress_reporter=progress_reporter,
            resume=resume,
            resume_config=resume_config,
            reuse_actors=reuse_actors,
            raise_on_failed_trial=raise_on_failed_trial,
            callbacks=callbacks,
            **old,
        ).trials
    return trials


def _aim(metric: Any, mode: Any) -> tuple[str | None, str | None]:
    """The metric and its mode, where they are one each."""
    return metric if isinstance(metric, str) else None, mode if isinstance(mode, str) else None


class _Run:
    """One call of `run`: puts the parts together and drives the controller."""

    def __init__(
        self,
        experiments: list[Experiment],
        search: SearchAlgorithm,
        scheduler: Any,
        aim: tuple[str | None, str | None],
        fail_fast: bool | str,
        reuse_actors: bool,
        callbacks: list,
        loggers: Sequence | None,
    ) -> None:
        from narke.tune._progress import ProgressRecord

        self.experiments = experiments
        self.storage = experiments[0].storage
        self.local_path = experiments[0].local_path
        _check_storage(self.storage)
        self.record = ProgressRecord(experiments[0], *aim)
        chosen = default_callbacks(callbacks, list(loggers) if loggers is not None else None)
        self.callbacks = [*chosen, *upload_callbacks(self.storage), self.record]
        self.journal = Journal(self.local_path, _fresh_stamp(self.local_path))
        trainables = {each.run_identifier: get_trainable_cls(each.run_identifier) for each in experiments}
        fresh = os.environ.get("TUNE_FRESH_PROCESS_PER_TRIAL") == "1"
        fresh = fresh or any(getattr(each, "_fresh_process", False) for each in trainables.values())
        self.runners = ActorRunners(trainables, self.storage, experiments[0].name, reuse_actors, fresh)
        self.search = search
        self.controller = TuneController(
            search_alg=search,
            scheduler=scheduler,
            stopper=_stopper(experiments),
            fail_fast=fail_fast,
            callbacks=self.callbacks,
            metric=aim[0],
            storage=self.storage,
            reuse_actors=reuse_actors,
            runners=self.runners,
            journal=self.journal,
            checkpoint_period=_checkpoint_period(),
        )
        self.reporter: Any = None
        self.interrupted = False
        self.state: Any = None
        self.policy: Any = None

    def show(self, verbose: Any, progress_reporter: Any, metric: str | None, mode: str | None) -> None:
        """Choose what shows progress."""
        from narke.tune._showing import choose_reporter

        self.reporter = choose_reporter(verbose, progress_reporter, self, metric, mode)
        self.callbacks[-1:-1] = self.reporter.callbacks
        self.controller._callbacks._callbacks = self.callbacks

    def resume(self, must_exist: bool, policy: ResumeConfig) -> None:
        """Go on with what an earlier run left.

        Raises:
            ValueError: there is nothing, and there must be.
        """
        self.state = find_state(self.storage.experiment_fs_path, self.storage.storage_filesystem)
        self.policy = policy
        if self.state is None and must_exist:
            raise ValueError(
                f"Called resume when no checkpoint exists in {self.storage.experiment_fs_path}: check name and "
                'storage_path, or use resume="AUTO" to begin if there is nothing'
            )

    def run(self, raise_on_failed_trial: bool, metric: str | None, mode: str | None) -> ExperimentAnalysis:
        """Drive the controller to the end."""
        controller, search = self.controller, self.search
        controller.setup_experiments(self.experiments)
        controller.update_max_pending_trials(_max_pending(search))
        if self.state is not None:
            self.journal.begin(self.state)
            put_trials_back(controller, self.state, self.storage, self.policy, self.local_path)
            self.state = None
        from narke.tune._uploads import Uploads

        uploads = Uploads(self.storage, self.local_path, self.journal)
        self.callbacks.append(uploads)
        try:
            with _interruptible(self):
                self.reporter.begin(search.total_samples)
                while not controller.is_finished() and not self.interrupted:
                    controller.step()
                    self.reporter.report(controller)
        finally:
            self._end(uploads)
        return self._result(raise_on_failed_trial, metric, mode)

    def _end(self, uploads: Any) -> None:
        """End all processes and leave a whole state, whatever happened."""
        controller = self.controller
        try:
            controller.cleanup()
            controller.end_experiment_callbacks()
            for trial in controller.get_trials():
                if trial.status == Trial.RUNNING:
                    controller._set_status(trial, Trial.PENDING)
        finally:
            if controller.get_trials():
                self.journal.compact(controller.run_facts())
            self.journal.close()
            uploads.finish()
            self.reporter.end(controller)

    def _result(
        self, raise_on_failed_trial: bool, metric: str | None, mode: str | None
    ) -> ExperimentAnalysis:
        trials = self.controller.get_trials()
        incomplete = [trial for trial in trials if trial.status != Trial.TERMINATED]
        if self.interrupted:
            logger.warning(
                "Experiment has been interrupted, but the most recent state was saved. Resume experiment with: "
                'Tuner.restore(path="%s", trainable=...)',
                self.storage.experiment_fs_path,
            )
        elif incomplete and raise_on_failed_trial:
            raise TuneError("Trials did not complete", incomplete)
        elif incomplete:
            shown = f"{incomplete[:10]}" + (
                f" and {len(incomplete) - 10} more" if len(incomplete) > 10 else ""
            )
            logger.error("Trials did not complete: %s", shown)
        return ExperimentAnalysis(
            self.storage.experiment_fs_path,
            storage_filesystem=self.storage.storage_filesystem,
            trials=trials,
            default_metric=metric if isinstance(metric, str) else None,
            default_mode=mode if isinstance(mode, str) else None,
        )


class _interruptible:
    """Ctrl-C ends the run after the current step, with its state written; a second one at once."""

    def __init__(self, session: _Run) -> None:
        self._session = session
        self._old: Any = None

    def __enter__(self) -> None:
        wanted = os.environ.get("TUNE_DISABLE_SIGINT_HANDLER", "0") != "1"
        if wanted and threading.current_thread() is threading.main_thread():
            self._old = signal.signal(signal.SIGINT, self._on_signal)

    def _on_signal(self, number: int, frame: Any) -> None:
        logger.warning("Stop signal received: ending the trials. Press Ctrl-C again to end at once.")
        self._session.interrupted = True
        signal.signal(signal.SIGINT, self._old)

    def __exit__(self, *exc: object) -> None:
        if self._old is not None:
            signal.signal(signal.SIGINT, self._old)


def _connect() -> None:
    import narke

    if narke.is_initialized():
        return
    if os.environ.get("TUNE_DISABLE_AUTO_INIT") == "1":
        raise TuneError(
            "no cluster is connected, and TUNE_DISABLE_AUTO_INIT forbids to start one: call init() first"
        )
    narke.init()


def _experiments(given: Any, **spec: Any) -> list[Experiment]:
    found = list(given) if isinstance(given, (list, tuple)) else [given]
    return [
        copy.copy(each)
        if isinstance(each, Experiment)
        else Experiment(spec["name"], each, **_without_name(spec))
        for each in found
    ]


def _without_name(spec: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in spec.items() if key != "name"}


def _search(
    given: Any, limit: int | None, metric: str | None, mode: str | None, experiments: list[Experiment]
) -> SearchAlgorithm:
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise ValueError(
            f"`max_concurrent_trials` must be None or a whole number of at least 0, got {limit!r}."
        )
    if isinstance(given, str):
        given = create_searcher(given, metric=metric, mode=mode)
    if given is None:
        given = BasicVariantGenerator(max_concurrent=limit or 0)
    elif limit:
        given = _limited(given, limit)
    search = given if isinstance(given, SearchAlgorithm) else SearchGenerator(given)
    first = experiments[0]
    took = set_search_properties_backwards_compatible(
        search.set_search_properties, metric, mode, first.spec["config"], **first.public_spec
    )
    learns = not isinstance(search, BasicVariantGenerator)
    if not took and learns and has_unresolved_values(first.spec["config"]):
        raise ValueError(
            "You passed a `config` parameter to `tune.run()` with unresolved parameters, but the search algorithm was "
            "already instantiated with a search space. Make sure that `config` does not contain any more parameter "
            "definitions - include them in the search algorithm's search space if necessary."
        )
    return search


def _limited(given: Any, limit: int) -> Any:
    if isinstance(given, BasicVariantGenerator):
        if given.max_concurrent and given.max_concurrent != limit:
            raise ValueError(
                f"max_concurrent_trials={limit} contradicts the generator's max_concurrent={given.max_concurrent}"
            )
        given.max_concurrent = limit
        return given
    if isinstance(given, ConcurrencyLimiter):
        raise ValueError(
            "max_concurrent_trials and a ConcurrencyLimiter both limit the trials: use one of them"
        )
    if isinstance(given, SearchGenerator):
        given.searcher = ConcurrencyLimiter(given.searcher, limit)
        return given
    return ConcurrencyLimiter(given, limit) if isinstance(given, Searcher) else given


def _scheduler(given: Any, metric: str | None, mode: str | None, experiment: Experiment) -> Any:
    if given is None:
        given = FIFOScheduler()
    if isinstance(given, str):
        given = create_scheduler(given)
    took = set_search_properties_backwards_compatible(
        lambda metric, mode, config, **spec: given.set_search_properties(metric, mode, **spec),
        metric,
        mode,
        {},
        **experiment.public_spec,
    )
    if not took:
        raise ValueError(
            "You passed a `metric` or `mode` argument to `tune.run()`, but the scheduler you are using was already "
            "instantiated with their own `metric` and `mode` parameters. Either remove the arguments from your "
            "scheduler or from your call to `tune.run()`"
        )
    return given


def _stopper(experiments: list[Experiment]) -> Stopper | None:
    found = [each.stopper for each in experiments if each.stopper is not None]
    return CombinedStopper(*found) if len(found) > 1 else (found[0] if found else None)


def _max_pending(search: SearchAlgorithm) -> int:
    given = os.environ.get("TUNE_MAX_PENDING_TRIALS_PG", "auto")
    if given != "auto":
        return int(given)
    return 200 if isinstance(search, BasicVariantGenerator) else 1


def _checkpoint_period() -> float | None:
    given = os.environ.get("TUNE_GLOBAL_CHECKPOINT_S", "auto")
    return None if given == "auto" else float(given)


def _check_mode(mode: Any) -> None:
    if mode is not None and mode not in ("min", "max") and not isinstance(mode, list):
        raise ValueError(
            f"The `mode` parameter passed to `tune.run()` has to be one of ['min', 'max'], not {mode!r}"
        )


def _check_storage(storage: Any) -> None:
    """See that the storage can be written before anything runs.

    Raises:
        OSError: it cannot; the text names it.
    """
    from narke.train._storage import make_folder

    make_folder(storage.storage_filesystem, storage.experiment_fs_path)


def _fresh_stamp(folder: str) -> str:
    """The time, later than those of earlier runs in the folder."""
    stamp, number = dirname_stamp(time.time()), 0
    chosen = stamp
    while os.path.exists(os.path.join(folder, f"experiment_state-{chosen}.json")) or os.path.exists(
        os.path.join(folder, f"experiment_state-{chosen}.jsonl")
    ):
        number += 1
        chosen = f"{stamp}-{number:04d}"
    return chosen


def _refuse_unknown(given: dict[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise TypeError(f"run() got unexpected arguments: {', '.join(unknown)}")
