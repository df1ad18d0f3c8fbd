"""The controller's decisions, with a shell that has no processes and a clock that stands."""

import pytest

from narke.train._checkpoint import Checkpoint
from narke.train._config import CheckpointConfig
from narke.tune._checkpoints import TrainingResult
from narke.tune.callback import Callback
from narke.tune.error import TuneError
from narke.tune.execution.runners import Event, Runners
from narke.tune.execution.tune_controller import TuneController
from narke.tune.experiment import Experiment, Trial
from narke.tune.schedulers import AsyncHyperBandScheduler, TrialScheduler
from narke.tune.schedulers.trial_scheduler import FIFOScheduler


class Shell(Runners):
    """Notes what it is told; events are put in by the test."""

    def __init__(self, rooms=1):
        self.rooms, self.told, self.events, self.ahead = rooms, [], [], []
        self.takes, self.next = False, None  # whether its host is given trials in advance

    def start(self, trial, restore, ahead=False):
        if self.rooms == 0:
            return False
        self.rooms -= 1
        self.ahead.append(ahead)
        self.told.append(("start", trial.trial_id))
        return True

    def prepare(self, trial, far=False):
        self.far = far
        if not self.takes or self.next is not None:
            return False
        self.next = trial
        return True

    def step(self, trial):
        self.told.append(("step", trial.trial_id))

    def save(self, trial):
        self.told.append(("save", trial.trial_id))

    def stop(self, trial, failed=False):
        self.rooms += 1
        self.told.append(("failed" if failed else "stop", trial.trial_id))

    def release(self, trial):
        self.told.append(("release", trial.trial_id))
        begun, self.next = self.next, None
        self.rooms += begun is None
        return begun

    def want(self, count):
        self.wanted = count

    def export(self, trial, formats):
        return {}

    def wait(self, timeout_s):
        events, self.events = self.events, []
        return events

    def shutdown(self):
        self.told.append(("shutdown", None))


@pytest.fixture
def make(tmp_path):
    def controller(num_samples=2, rooms=1, **options):
        def objective(config):
            return None

        spec = options.pop("spec", {})
        experiment = Experiment("exp", objective, num_samples=num_samples, storage_path=str(tmp_path), **spec)
        shell = Shell(rooms)
        made = TuneController(runners=shell, clock=lambda: 0.0, storage=experiment.storage, **options)
        made.setup_experiments([experiment])
        made.update_max_pending_trials(10)
        return made, shell

    return controller


def result(trial, iteration=1, done=False, free=False, **metrics):
    metrics = {"training_iteration": iteration, "done": done, **metrics}
    return Event("result", trial, ([(metrics, None)], free))


def test_trials_start_as_there_is_room(make):
    controller, shell = make(num_samples=2, rooms=1)
    controller.step()
    first, second = controller.get_trials()
    assert shell.told == [("start", first.trial_id)]
    assert (first.status, second.status) == (Trial.RUNNING, Trial.PENDING)


def test_a_result_leads_to_the_next_step_and_an_end_makes_room(make):
    controller, shell = make(num_samples=2, rooms=1)
    controller.step()
    first, second = controller.get_trials()
    shell.events = [result(first)]
    controller.step()
    shell.events = [result(first, 2, done=True, free=True)]
    controller.step()
    controller.step()
    a, b = first.trial_id, second.trial_id
    assert shell.told == [("start", a), ("step", a), ("release", a), ("start", b)]
    assert first.status == Trial.TERMINATED and first.last_result["done"]


def test_a_prepared_trial_runs_when_the_one_before_is_over(make):
    controller, shell = make(num_samples=3, rooms=1)
    shell.takes = True
    controller.step()
    first, second, third = controller.get_trials()
    assert shell.next is second and second.status == Trial.PENDING
    shell.events = [result(first, done=True, free=True)]
    controller.step()
    assert (first.status, second.status, third.status) == ("TERMINATED", "RUNNING", "PENDING")
    assert shell.next is third
    assert shell.told == [("start", first.trial_id), ("release", first.trial_id)]


def test_a_prepared_trial_that_was_refused_is_the_next_to_start(make):
    controller, shell = make(num_samples=3, rooms=1)
    shell.takes = True
    controller.step()
    first, second, third = controller.get_trials()
    shell.takes, shell.next = False, None
    shell.events = [Event("refused", second)]
    controller.step()
    shell.rooms = 1
    controller.step()
    assert shell.told == [("start", first.trial_id), ("start", second.trial_id)]
    assert third.status == Trial.PENDING


def test_nothing_is_prepared_where_a_result_may_stop_trials(make):
    controller, shell = make(num_samples=2, rooms=1, spec={"stop": {"training_iteration": 1}})
    shell.takes = True
    controller.step()
    assert shell.next is None


def test_a_prepared_trial_is_ended_with_the_experiment(make):
    controller, shell = make(num_samples=2, rooms=1)
    shell.takes = True
    controller.step()
    first, second = controller.get_trials()
    controller.request_stop_experiment()
    controller.step()
    assert ("stop", second.trial_id) in shell.told and second.status == Trial.TERMINATED
    shell.events = [Event("refused", second)]
    controller._on_event(shell.events[0])
    assert second.status == Trial.TERMINATED


def test_failures_are_tried_again_as_often_as_allowed(make):
    controller, shell = make(num_samples=1, spec={"max_failures": 1})
    controller.step()
    (trial,) = controller.get_trials()
    shell.events = [Event("failed", trial, ValueError("boom"))]
    controller.step()
    assert trial.status == Trial.PENDING and trial.num_failures == 1
    controller.step()
    shell.events = [Event("failed", trial, ValueError("boom"))]
    controller.step()
    assert trial.status == Trial.ERROR and controller.is_finished()
    assert "boom" in str(trial.get_error())


def test_fail_fast_stops_the_others_and_leaves_them_pending(make):
    controller, shell = make(num_samples=3, rooms=2, fail_fast=True)
    controller.step()
    first, second, third = controller.get_trials()
    shell.events = [Event("failed", first, ValueError("boom"))]
    controller.step()
    assert [trial.status for trial in (first, second, third)] == ["ERROR", "PENDING", "PENDING"]
    assert controller.is_finished()


def test_events_of_a_stopped_trial_change_nothing(make):
    controller, shell = make(num_samples=1)
    controller.step()
    (trial,) = controller.get_trials()
    controller.stop_trial(trial)
    told = list(shell.told)
    shell.events = [result(trial)]
    controller._on_event(shell.events[0])
    assert shell.told == told and trial.status == Trial.TERMINATED


class Pauser(FIFOScheduler):
    def on_trial_result(self, tune_controller, trial, result):
        return TrialScheduler.PAUSE if result["training_iteration"] == 1 else TrialScheduler.CONTINUE


def test_a_paused_trial_saves_gives_its_room_away_and_comes_back(make):
    controller, shell = make(num_samples=2, rooms=1, scheduler=Pauser())
    controller.step()
    first, second = controller.get_trials()
    shell.events = [result(first)]
    controller.step()
    assert shell.told[-1] == ("save", first.trial_id)
    shell.events = [Event("saved", first, None)]
    controller.step()
    assert first.status == Trial.PAUSED and shell.told[-1] == ("stop", first.trial_id)
    controller.step()
    assert second.status == Trial.RUNNING
    shell.events = [result(second, 2, done=True, free=True)]
    controller.step()
    controller.step()
    assert first.status == Trial.RUNNING


def test_a_pause_that_is_taken_back_lets_the_trial_go_on(make):
    controller, shell = make(num_samples=1, scheduler=Pauser())
    controller.step()
    (trial,) = controller.get_trials()
    shell.events = [result(trial)]
    controller.step()
    controller.unpause_trial(trial)
    shell.events = [Event("saved", trial, None)]
    controller.step()
    assert trial.status == Trial.RUNNING and shell.told[-1] == ("step", trial.trial_id)


def test_criteria_end_trials(make):
    controller, shell = make(num_samples=1, spec={"stop": {"training_iteration": 2}})
    controller.step()
    (trial,) = controller.get_trials()
    for iteration in (1, 2):
        shell.events = [result(trial, iteration)]
        controller.step()
    assert trial.status == Trial.TERMINATED and shell.told[-1] == ("stop", trial.trial_id)


def test_a_criterion_that_is_not_reported_is_an_error(make):
    controller, shell = make(num_samples=1, spec={"stop": {"accuracy": 0.9}})
    controller.step()
    (trial,) = controller.get_trials()
    shell.events = [result(trial, loss=1)]
    with pytest.raises(TuneError, match="accuracy not provided.*loss"):
        controller.step()


def test_no_room_for_ever_fails_the_trial(make):
    controller, shell = make(num_samples=1, rooms=0)
    controller.step()
    (trial,) = controller.get_trials()
    shell.events = [Event("hopeless", None, RuntimeError("too large"), trial.placement_group_factory)]
    controller.step()
    assert trial.status == Trial.ERROR and controller.is_finished()


def test_the_end_of_the_experiment_ends_all(make):
    controller, shell = make(num_samples=2, rooms=2, stopper=StopAll())
    controller.step()
    assert {trial.status for trial in controller.get_trials()} <= {"TERMINATED"}
    assert controller.is_finished()


class StopAll:
    def __call__(self, trial_id, result):
        return True

    def stop_all(self):
        return True


def over_at_once(trial):
    last = {"done": True, "__duplicate__": True}
    first = {"training_iteration": 1, "done": False, "loss": 1.0}
    return Event("result", trial, ([(first, None), (last, None)], True))


def test_a_host_that_is_free_begins_the_next_trial_before_anybody_is_told_of_the_last(make):
    told = []

    class Listener(Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            told.append((list(shell.told), result["loss"]))

    controller, shell = make(num_samples=2, rooms=1, callbacks=[Listener()])
    controller.step()
    first, second = controller.get_trials()
    shell.events = [over_at_once(first)]
    controller.step()
    a, b = first.trial_id, second.trial_id
    assert told == [([("start", a), ("release", a), ("start", b)], 1.0)]
    assert first.status == Trial.TERMINATED and first.last_result["loss"] == 1.0 and first.last_result["done"]


def test_a_trial_that_a_callback_stops_has_no_later_results(make):
    class Stops(Callback):
        def on_trial_result(self, iteration, trials, trial, result, **info):
            controller.request_stop_trial(trial)

    seen = []

    class Counts(Callback):
        def on_trial_complete(self, iteration, trials, trial, **info):
            seen.append(trial)

    controller, shell = make(num_samples=1, rooms=1, callbacks=[Stops(), Counts()])
    controller.step()
    (trial,) = controller.get_trials()
    shell.events = [over_at_once(trial)]
    controller.step()
    assert seen == [trial] and trial.status == Trial.TERMINATED


@pytest.mark.parametrize(
    ("options", "lets_run"),
    [
        ({}, True),
        ({"spec": {"stop": {"loss": 1}}}, False),
        ({"scheduler": AsyncHyperBandScheduler(metric="loss", mode="min")}, False),
    ],
)
def test_functions_run_ahead_only_where_no_result_can_stop_them(make, options, lets_run):
    controller, shell = make(num_samples=1, rooms=1, **options)
    controller.step()
    assert shell.ahead == [lets_run]


def test_a_checkpoint_stays_until_all_that_begin_from_it_have_begun():
    keeps_one = CheckpointConfig(num_to_keep=1)
    owner, other = (
        Trial("any", trial_id=name, stub=True, checkpoint_config=keeps_one) for name in ("one", "two")
    )
    first, second, third = (TrainingResult(None, {"at": at}) for at in range(3))
    owner.checkpoints.add(first)
    first.pins += 1  # the other is to take it over
    other.resume_from = first
    owner.begin_from(owner.checkpoints.latest)
    owner.on_restore()
    other.begin_from(other.resume_from)
    assert owner.checkpoints.add(second) == []
    other.on_restore()
    assert owner.checkpoints.add(third) == [first, second]


def test_a_trial_that_fails_before_its_first_result_holds_no_checkpoint_twice():
    trial = Trial("any", stub=True, checkpoint_config=CheckpointConfig(num_to_keep=1))
    trial.checkpoints.add(TrainingResult(None, {}))
    for _ in range(2):
        trial.begin_from(trial.checkpoints.latest)
    trial.on_restore()
    assert trial.checkpoints.latest.pins == 0


def test_a_checkpoint_that_comes_again_is_one():
    trial = Trial("any", stub=True, checkpoint_config=CheckpointConfig(num_to_keep=2))
    results = [TrainingResult(Checkpoint(f"/folder/{at}"), {"at": at}) for at in (0, 1, 1, 2)]
    dropped = [trial.checkpoints.add(each) for each in results]
    assert dropped == [[], [], [], [results[0]]]
    assert [each.checkpoint.path for each in trial.checkpoints.results] == ["/folder/1", "/folder/2"]
