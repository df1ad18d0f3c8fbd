"""The callbacks for MXNet: what they report, and what they say without it."""

import importlib.util
from types import SimpleNamespace

import pytest

from narke.tune.integration.mxnet import TuneCallback, TuneCheckpointCallback, TuneReportCallback
from narke.tune.trainable._session import Session, TrialInfo, set_session

_LIMIT_S = 20


@pytest.fixture
def reported():
    """Runs a callback as a trial's function, and gives what it reported."""
    sessions = []

    def of(call):
        session = Session(TrialInfo())
        sessions.append(session)
        set_session(session)
        session.start(call)
        kind, value = session.next()
        return value[0] if kind == "result" else value

    yield of
    set_session(None)
    for session in sessions:
        assert session.stop(_LIMIT_S)


def evaluation(**metrics):
    metric = SimpleNamespace(get_name_value=lambda: list(metrics.items()))
    return SimpleNamespace(epoch=0, nbatch=1, eval_metric=metric, locals=None)


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (None, {"accuracy": 0.5, "loss": 2.0}),
        ("accuracy", {"accuracy": 0.5}),
        ({"mean_accuracy": "accuracy"}, {"mean_accuracy": 0.5}),
    ],
)
def test_metrics_of_an_evaluation_are_reported(reported, metrics, expected):
    result = reported(lambda: TuneReportCallback(metrics)(evaluation(accuracy=0.5, loss=2.0)))
    assert {
        name: result[name] for name in ("accuracy", "loss", "mean_accuracy") if name in result
    } == expected


@pytest.mark.skipif(importlib.util.find_spec("mxnet") is not None, reason="MXNet is installed")
def test_a_checkpoint_without_mxnet_names_it():
    with pytest.raises(ImportError, match="pip install mxnet"):
        TuneCheckpointCallback()(0, None, {}, {})


def test_epochs_between_checkpoints_make_none_and_the_base_is_refused():
    TuneCheckpointCallback(frequency=2)(1, None, {}, {})
    with pytest.raises(NotImplementedError, match="__call__"):
        TuneCallback()()
