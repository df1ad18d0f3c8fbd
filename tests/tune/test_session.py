"""A trial's function and its session: when the function waits, and when it may run ahead."""

import threading

import pytest

from narke.tune.trainable._session import Session, TrialInfo

_LIMIT_S = 20


class Steps:
    """A function that reports, and notes how far it has come."""

    def __init__(self, session, reports):
        self.session, self.reports = session, reports
        self.came = [threading.Event() for _ in range(reports + 1)]

    def __call__(self):
        for step in range(self.reports):
            self.came[step].set()
            self.session.report({"step": step})
        self.came[self.reports].set()


@pytest.fixture
def begin():
    sessions = []

    def made(reports, **info):
        session = Session(TrialInfo(**info))
        sessions.append(session)
        steps = Steps(session, reports)
        session.start(steps)
        return session, steps

    yield made
    for session in sessions:
        assert session.stop(_LIMIT_S)


def step_of(session):
    kind, value = session.next()
    return value[0]["step"] if kind == "result" else kind


def test_a_function_waits_in_report_until_it_may_go_on(begin):
    session, steps = begin(2)
    assert step_of(session) == 0
    assert not steps.came[1].is_set()  # only the next step lets it go on
    assert step_of(session) == 1
    assert step_of(session) == "done"


def test_a_function_that_may_run_ahead_is_one_report_ahead_and_no_more(begin):
    session, steps = begin(3, ahead=True)
    assert steps.came[1].wait(_LIMIT_S)  # nothing was taken yet, and it has gone on
    assert not steps.came[2].is_set()
    assert [step_of(session) for _ in range(4)] == [0, 1, 2, "done"]


def test_the_end_right_after_the_last_report_is_known(begin):
    session, steps = begin(1, ahead=True)
    assert step_of(session) == 0
    assert session.has_ended(_LIMIT_S)
    assert step_of(session) == "done"


def test_a_function_that_goes_on_or_may_not_run_ahead_has_not_ended(begin):
    session, _ = begin(3, ahead=True)
    assert step_of(session) == 0 and not session.has_ended(_LIMIT_S)
    session, _ = begin(1)
    assert step_of(session) == 0 and not session.has_ended(_LIMIT_S)


def test_a_function_that_runs_ahead_ends_when_it_is_stopped(begin):
    session, steps = begin(5, ahead=True)
    assert steps.came[1].wait(_LIMIT_S)
    assert session.stop(_LIMIT_S)
    assert not steps.came[5].is_set()
