"""Counters, gauges and histograms that a program defines and that the cluster serves to Prometheus.

Values are summed up in this process and sent at most every two seconds, so recording one costs no
communication. They are sent to the key-value store, namespace ``metrics``, under the worker's id, as JSON:
name to ``kind``, ``description``, ``boundaries`` and ``points``, each with ``tags`` and ``value``; a
histogram's value has ``buckets`` (counts by upper bound, one more than there are boundaries), ``sum`` and
``count``.
"""

from __future__ import annotations

import atexit
import bisect
import json
import logging
import os
import re
import threading
from typing import Any

import narke
from narke.util.annotations import DeveloperAPI, PublicAPI

__all__ = ["Counter", "Gauge", "Histogram"]

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_REPORT_PERIOD_S = 2.0
_KV_NAMESPACE = b"metrics"

Labels = tuple[tuple[str, str], ...]


class _Series:
    """Values of one metric, by tags: numbers for counters and gauges, bucket counts for histograms."""

    def __init__(self, kind: str, description: str, boundaries: list[float]) -> None:
        self.kind = kind
        self.description = description
        self.boundaries = boundaries
        self.values: dict[Labels, Any] = {}

    def record(self, labels: Labels, value: float) -> None:
        if self.kind == "gauge":
            self.values[labels] = value
        elif self.kind == "counter":
            self.values[labels] = self.values.get(labels, 0.0) + value
        else:
            self._observe(labels, value)

    def _observe(self, labels: Labels, value: float) -> None:
        cell = self.values.setdefault(
            labels, {"buckets": [0] * (len(self.boundaries) + 1), "sum": 0.0, "count": 0}
        )
        cell["buckets"][bisect.bisect_left(self.boundaries, value)] += 1
        cell["sum"] += value
        cell["count"] += 1

    def export(self) -> dict[str, Any]:
        points = [{"tags": dict(labels), "value": value} for labels, value in self.values.items()]
        return {
            "kind": self.kind,
            "description": self.description,
            "boundaries": self.boundaries,
            "points": points,
        }


class _Registry:
    """All series of this process; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._series: dict[str, _Series] = {}
        self._changed = False

    def declare(self, name: str, kind: str, description: str, boundaries: list[float]) -> None:
        """Add a series, or keep the one of this name; two metrics of one name share their values."""
        with self._lock:
            known = self._series.get(name)
            if known is None:
                self._series[name] = _Series(kind, description, boundaries)
            elif known.kind != kind:
                raise ValueError(
                    f"metric {name!r} is a {known.kind} already; choose another name for this {kind}"
                )

    def record(self, name: str, labels: Labels, value: float) -> None:
        with self._lock:
            self._series[name].record(labels, value)
            self._changed = True

    def export(self, changed_only: bool = False) -> dict[str, Any] | None:
        """Every series by name.

        None when `changed_only` and nothing was recorded since the last such call.
        """
        with self._lock:
            if changed_only and not self._changed:
                return None
            self._changed = self._changed and not changed_only
            return {name: series.export() for name, series in self._series.items()}


class _Reporter:
    """Sends the registry's values to the cluster from a daemon thread that starts with the first value."""

    def __init__(self, registry: _Registry) -> None:
        self._registry = registry
        self._lock = threading.Lock()
        self._pid = 0
        self._stop = threading.Event()

    def start(self) -> None:
        """Start once per process; workers are forked, and threads do not survive a fork."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._stop = threading.Event()
            atexit.register(self._finish)
            threading.Thread(target=self._run, name="narke-metrics", daemon=True).start()

    def _run(self) -> None:
        while not self._stop.wait(_REPORT_PERIOD_S):
            self.report()

    def _finish(self) -> None:
        self._stop.set()
        self.report()

    def report(self) -> None:
        """Send what changed; values stay until a cluster is there to take them."""
        if not narke.is_initialized():
            return
        values = self._registry.export(changed_only=True)
        if values is None:
            return
        try:
            _send(values)
        except (
            Exception
        ) as error:  # the shell of a background thread: the program must not end with its metrics
            _log.warning(
                "metrics of process %d did not reach the cluster and will be sent again: %s", self._pid, error
            )
            with self._registry._lock:
                self._registry._changed = True


def _send(values: dict[str, Any]) -> None:
    from narke._private import kv

    worker_id = narke.get_runtime_context().get_worker_id()
    kv.put(worker_id, json.dumps(values), namespace=_KV_NAMESPACE)


_registry = _Registry()
_reporter = _Reporter(_registry)


@DeveloperAPI
class Metric:
    """What counters, gauges and histograms have in common.

    Args:
        name: the metric's name: letters, digits, ``_`` and ``:``; other characters become ``_`` when served.
        description: one line for people.
        tag_keys: names of the tags that every recorded value carries.

    Raises:
        ValueError: empty name, or a name that another kind of metric has.
        TypeError: an argument has the wrong type.
    """

    _kind = ""

    def __init__(self, name: str, description: str = "", tag_keys: tuple[str, ...] | None = None) -> None:
        _check_name(name)
        if not isinstance(description, str):
            raise TypeError(f"description must be a str, got {type(description)}")
        tag_keys = () if tag_keys is None else tag_keys
        if not isinstance(tag_keys, tuple):
            raise TypeError(f"tag_keys should be a tuple type, got: {type(tag_keys)}")
        for key in tag_keys:
            if not isinstance(key, str):
                raise TypeError(f"Tag keys must be str, got {type(key)}.")
        self._name = name
        self._description = description
        self._tag_keys = tag_keys
        self._default_tags: dict[str, str] = {}
        self._served_name = re.sub(r"[^a-zA-Z0-9_:]", "_", name)
        _registry.declare(self._served_name, self._kind, description, self._boundaries())

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys and default tags."""
        return {
            "name": self._name,
            "description": self._description,
            "tag_keys": self._tag_keys,
            "default_tags": self._default_tags,
        }

    def set_default_tags(self, default_tags: dict[str, str]) -> Metric:
        """Give tags that apply where a recorded value brings none of its own.

        Returns:
            The metric itself.

        Raises:
            ValueError: a key is not among the metric's `tag_keys`.
            TypeError: a value is no str.
        """
        self._check_tags(default_tags)
        self._default_tags = default_tags
        return self

    def _boundaries(self) -> list[float]:
        return []

    def _record(self, value: float, tags: dict[str, str] | None) -> None:
        if not isinstance(value, (int, float)):
            raise TypeError(f"value must be int or float, got {type(value)}.")
        self._check_tags(tags or {})
        _registry.record(self._served_name, self._labels(tags or {}), value)
        _reporter.start()

    def _check_tags(self, tags: dict[str, str]) -> None:
        if not isinstance(tags, dict):
            raise TypeError(f"tags must be a dict of str to str, got {type(tags)}.")
        for key, value in tags.items():
            if key not in self._tag_keys:
                raise ValueError(f"Unrecognized tag key {key}. Metric {self._name} has {self._tag_keys}.")
            if not isinstance(value, str):
                raise TypeError(f"Tag values must be str, got {type(value)}.")

    def _labels(self, tags: dict[str, str]) -> Labels:
        merged = {**self._default_tags, **tags}
        missing = [key for key in self._tag_keys if key not in merged]
        if missing:
            raise ValueError(f"Missing value for tag key(s): {','.join(missing)}.")
        return tuple(sorted(merged.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._arguments(), self._default_tags)

    def _arguments(self) -> dict[str, Any]:
        return {"name": self._name, "description": self._description, "tag_keys": self._tag_keys}


def _rebuild(kind: type[Metric], arguments: dict[str, Any], default_tags: dict[str, str]) -> Metric:
    return kind(**arguments).set_default_tags(default_tags)


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise TypeError(f"a metric's name must be a str, got {type(name)}")
    if not name:
        raise ValueError("Empty name is not allowed. Please provide a metric name.")
    if not _NAME.fullmatch(name):
        _log.warning(
            "metric name %r will be served with '_' for the characters that Prometheus forbids", name
        )


@PublicAPI
class Counter(Metric):
    """A number that only grows."""

    _kind = "counter"

    def inc(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        """Add `value`.

        Raises:
            ValueError: the value is not above 0, or tags are missing or unknown.
            TypeError: the value is no number, or a tag's value no str.
        """
        if isinstance(value, (int, float)) and value <= 0:
            raise ValueError(f"value must be >0, got {value}")
        self._record(value, tags)


@PublicAPI
class Gauge(Metric):
    """A number that is set to its present value."""

    _kind = "gauge"

    def set(self, value: float | None, tags: dict[str, str] | None = None) -> None:
        """Set the value; None leaves it as it is.

        Raises:
            ValueError: tags are missing or unknown.
            TypeError: the value is no number, or a tag's value no str.
        """
        if value is not None:
            self._record(value, tags)


@PublicAPI
class Histogram(Metric):
    """Counts values by range.

    Args:
        name: as for `Metric`.
        description: as for `Metric`.
        boundaries: upper bounds of the ranges, above 0; a last range without bound is added.
        tag_keys: as for `Metric`.

    Raises:
        ValueError: no boundaries, or one that is not above 0.
    """

    _kind = "histogram"

    def __init__(
        self,
        name: str,
        description: str = "",
        boundaries: list[float] | None = None,
        tag_keys: tuple[str, ...] | None = None,
    ) -> None:
        self.boundaries = _checked_boundaries(boundaries)
        super().__init__(name, description, tag_keys)

    def observe(self, value: float, tags: dict[str, str] | None = None) -> None:
        """Count `value` in its range.

        Raises:
            ValueError: tags are missing or unknown.
            TypeError: the value is no number, or a tag's value no str.
        """
        self._record(value, tags)

    @property
    def info(self) -> dict[str, Any]:
        """Name, description, tag keys, default tags and boundaries."""
        return {**super().info, "boundaries": self.boundaries}

    def _boundaries(self) -> list[float]:
        return sorted(self.boundaries)

    def _arguments(self) -> dict[str, Any]:
        return {**super()._arguments(), "boundaries": self.boundaries}


def _checked_boundaries(boundaries: Any) -> list[float]:
    if not boundaries:
        raise ValueError(
            "boundaries argument should be provided when using the Histogram class. "
            'e.g., Histogram("name", boundaries=[1.0, 2.0])'
        )
    for index, bound in enumerate(boundaries):
        if not isinstance(bound, (int, float)):
            raise TypeError(f"boundaries must be numbers, got {bound!r} at index {index}")
        if bound <= 0:
            raise ValueError(
                f"Invalid `boundaries` argument at index {index}, {boundaries}. Use positive values for the "
                "arguments."
            )
    return list(boundaries)
