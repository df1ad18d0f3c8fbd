import itertools
import pickle

import pytest

from narke.util import metrics

numbers = itertools.count()


@pytest.fixture
def name():
    return f"test_metric_{next(numbers)}"


def points(name):
    return {tuple(sorted(p["tags"].items())): p["value"] for p in metrics._registry.export()[name]["points"]}


def test_counter_adds_by_tags(name):
    counter = metrics.Counter(name, "help", ("a", "b")).set_default_tags({"a": "1"})
    counter.inc(tags={"b": "x"})
    counter.inc(2.5, {"b": "x"})
    counter.inc(1, {"a": "2", "b": "x"})
    assert points(name) == {(("a", "1"), ("b", "x")): 3.5, (("a", "2"), ("b", "x")): 1}


def test_gauge_keeps_the_last_value(name):
    gauge = metrics.Gauge(name)
    gauge.set(1)
    gauge.set(-2.5)
    gauge.set(None)
    assert points(name) == {(): -2.5}


def test_histogram_counts_by_upper_bound(name):
    histogram = metrics.Histogram(name, boundaries=[1, 10])
    for value in (0.5, 1, 5, 100):
        histogram.observe(value)
    assert points(name)[()] == {"buckets": [2, 1, 1], "sum": 106.5, "count": 4}
    assert histogram.info["boundaries"] == [1, 10]


def test_info(name):
    counter = metrics.Counter(name, "help", ("a",))
    assert counter.info == {"name": name, "description": "help", "tag_keys": ("a",), "default_tags": {}}


def test_metrics_travel(name):
    histogram = metrics.Histogram(name, "h", boundaries=[1], tag_keys=("a",)).set_default_tags({"a": "1"})
    assert pickle.loads(pickle.dumps(histogram)).info == histogram.info


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda name: metrics.Counter(""), ValueError, "Empty name"),
        (lambda name: metrics.Counter(None), TypeError, "must be a str"),
        (lambda name: metrics.Counter(name, 1), TypeError, "description"),
        (lambda name: metrics.Counter(name, "d", "a"), TypeError, "tuple type"),
        (lambda name: metrics.Counter(name, "d", (1,)), TypeError, "Tag keys must be str"),
        (lambda name: metrics.Counter(name).inc(0), ValueError, "value must be >0"),
        (lambda name: metrics.Counter(name).inc(-1), ValueError, "value must be >0"),
        (lambda name: metrics.Counter(name).inc("x"), TypeError, "int or float"),
        (
            lambda name: metrics.Counter(name, "", ("a", "b")).inc(1, {"a": "1"}),
            ValueError,
            "Missing value.*b",
        ),
        (lambda name: metrics.Counter(name).inc(1, {"a": "1"}), ValueError, "Unrecognized tag key a"),
        (lambda name: metrics.Counter(name, "", ("a",)).inc(1, {"a": 1}), TypeError, "Tag values"),
        (lambda name: metrics.Gauge(name).set("x"), TypeError, "int or float"),
        (lambda name: metrics.Gauge(name).set(1, "x"), TypeError, "dict"),
        (lambda name: metrics.Gauge(name).set_default_tags({"z": "1"}), ValueError, "Unrecognized tag key z"),
        (lambda name: metrics.Histogram(name), ValueError, "boundaries argument"),
        (lambda name: metrics.Histogram(name, boundaries=[0, 1]), ValueError, "index 0"),
        (lambda name: metrics.Histogram(name, boundaries=["x"]), TypeError, "numbers"),
    ],
)
def test_refused(call, error, text, name):
    with pytest.raises(error, match=text):
        call(name)


def test_two_kinds_cannot_share_a_name(name):
    metrics.Counter(name)
    with pytest.raises(ValueError, match="a counter already"):
        metrics.Gauge(name)


def test_only_changes_are_sent(monkeypatch):
    registry = metrics._Registry()
    registry.declare("x", "counter", "", [])
    assert registry.export(changed_only=True) is None
    registry.record("x", (), 1)
    assert registry.export(changed_only=True)["x"]["points"] == [{"tags": {}, "value": 1}]
    assert registry.export(changed_only=True) is None


def test_values_that_could_not_be_sent_are_sent_again(monkeypatch):
    registry = metrics._Registry()
    registry.declare("x", "counter", "", [])
    registry.record("x", (), 1)
    reporter = metrics._Reporter(registry)
    sent = []

    def fail_once(values):
        sent.append(values)
        if len(sent) == 1:
            raise ConnectionError("no cluster")

    monkeypatch.setattr(metrics.narke, "is_initialized", lambda: True)
    monkeypatch.setattr(metrics, "_send", fail_once)
    reporter.report()
    reporter.report()
    reporter.report()
    assert len(sent) == 2 and sent[0] == sent[1]
