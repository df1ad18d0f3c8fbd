"""Where a task or an actor runs: the option `scheduling_strategy` and label selectors as the engine takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["placement", "selector_complaint"]

_LABEL = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$")
_SELECTOR = re.compile(r"^(?P<negation>!)?(?:in\((?P<values>[^()]*)\)|(?P<value>[^()!]*))$")


def placement(options: Mapping[str, Any], resources: Mapping[str, float]) -> dict[str, Any]:
    """The placement part of a task's or an actor's description.

    Args:
        options: its checked options.
        resources: what it needs to be placed.

    Returns:
        ``pg``: the placement group's 18 bytes, ``b""`` for none at all, None to follow the running task's group
        when that captures its children; ``bundle``: index or -1; ``capture``: whether children follow;
        ``strategy``: None or a dict with ``kind`` and what the kind needs.

    Raises:
        ValueError: the placement group has no such bundle, or none that is big enough.
    """
    strategy = options.get("scheduling_strategy")
    group, bundle, capture = _group_of(options, strategy, resources)
    return {
        "pg": group,
        "bundle": bundle,
        "capture": bool(capture),
        "strategy": _encode_strategy(strategy, options),
    }


def _group_of(
    options: Mapping[str, Any], strategy: Any, resources: Mapping[str, float]
) -> tuple[bytes | None, int, bool | None]:
    if hasattr(strategy, "placement_group"):
        group = strategy.placement_group
        bundle, capture = strategy.placement_group_bundle_index, strategy.placement_group_capture_child_tasks
    else:
        group = options.get("placement_group", "default")
        bundle = options.get("placement_group_bundle_index", -1)
        capture = options.get("placement_group_capture_child_tasks")
    if isinstance(group, str):
        _check_no_bundle(bundle)
        outside = strategy is not None and strategy != "DEFAULT"
        return (b"" if outside else None), -1, capture
    if group is None or group.id.is_nil():
        _check_no_bundle(bundle)
        return b"", -1, capture
    _check_bundle(group, bundle)
    _check_fit(group, bundle, resources)
    return group.id.binary(), bundle, capture


def _check_no_bundle(bundle: int) -> None:
    if bundle != -1:
        raise ValueError("If placement group is not set, the value of bundle index must be -1.")


def _check_bundle(group: Any, bundle: int) -> None:
    count = group.bundle_count
    if bundle < -1 or (count and bundle >= count):
        raise ValueError(
            f"placement group bundle index {bundle} is invalid. Valid placement group indexes: 0-{count - 1}, or -1 "
            "for any bundle"
        )


def _check_fit(group: Any, bundle: int, resources: Mapping[str, float]) -> None:
    bundles = group.bundle_specs
    candidates = bundles if bundle == -1 else [bundles[bundle]]
    if candidates and not any(_fits(resources, each) for each in candidates):
        raise ValueError(
            f"Cannot schedule with the placement group: the resource request {dict(resources)} cannot fit into any "
            f"bundles of it, {candidates}. Ask for less, or make a bigger bundle."
        )


def _fits(resources: Mapping[str, float], bundle: Mapping[str, float]) -> bool:
    # A named accelerator's model is a property of the node, not a part of bundles.
    return all(
        amount <= bundle.get(name, 0)
        for name, amount in resources.items()
        if not name.startswith("accelerator_type:")
    )


def _encode_strategy(strategy: Any, options: Mapping[str, Any]) -> dict[str, Any] | None:
    labels = _selector_strategy(options)
    if strategy is None or strategy == "DEFAULT" or hasattr(strategy, "placement_group"):
        return labels
    if strategy == "SPREAD":
        return labels or {"kind": "SPREAD"}
    if hasattr(strategy, "node_id"):
        return {
            "kind": "NODE_AFFINITY",
            "node": bytes.fromhex(strategy.node_id),
            "soft": bool(strategy.soft),
            "spill_on_unavailable": bool(strategy._spill_on_unavailable),
            "fail_on_unavailable": bool(strategy._fail_on_unavailable),
        }
    return {
        "kind": "NODE_LABEL",
        "hard": _encode_conditions(strategy.hard),
        "soft": _encode_conditions(strategy.soft),
        "fallback": [],
    }


def _encode_conditions(conditions: Mapping[str, Any]) -> list[list[Any]]:
    operators = {"In": "in", "NotIn": "not_in", "Exists": "exists", "DoesNotExist": "not_exists"}
    return [
        [key, operators[type(condition).__name__], list(getattr(condition, "values", ()))]
        for key, condition in conditions.items()
    ]


def _selector_strategy(options: Mapping[str, Any]) -> dict[str, Any] | None:
    selector = options.get("label_selector")
    fallbacks = [entry.get("label_selector") or {} for entry in options.get("fallback_strategy") or ()]
    if not selector and not fallbacks:
        return None
    return {
        "kind": "NODE_LABEL",
        "hard": encode_selector(selector or {}),
        "soft": [],
        "fallback": [encode_selector(each) for each in fallbacks],
    }


def encode_selector(selector: Mapping[str, str]) -> list[list[Any]]:
    """A label selector as a list of [key, operator, values].

    Raises:
        ValueError: it is malformed.
    """
    complaint = selector_complaint(dict(selector))
    if complaint:
        raise ValueError(complaint)
    return [[key, *_parse_selector(value)] for key, value in selector.items()]


def _parse_selector(text: str) -> list[Any]:
    match = _SELECTOR.match(text.strip())
    if match is None:
        raise ValueError(f"malformed label selector {text!r}")
    listed = match["values"]
    values = [match["value"].strip()] if listed is None else [v.strip() for v in listed.split(",")]
    return ["not_in" if match["negation"] else "in", values]


def selector_complaint(selector: Any) -> str | None:
    """What is wrong with a label selector (a dict of key to value text); None when nothing is."""
    for key, value in (selector or {}).items():
        if not isinstance(key, str) or not _LABEL.match(key):
            return f"Invalid label selector key {key!r}: use letters, digits, '-', '_', '.' and '/'"
        if not isinstance(value, str):
            return f"Invalid label selector value for {key!r}: must be a string, got {value!r}"
        try:
            _, values = _parse_selector(value)
        except ValueError:
            values = []
        if not values or not all(_LABEL.match(value) for value in values):
            return (
                f"Invalid label selector value {value!r} for {key!r}: write 'value', '!value', 'in(a,b)' or "
                "'!in(a,b)'"
            )
    return None
