"""The options of tasks and actors: which there are, what values they take, and what they mean for scheduling."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

__all__ = [
    "ACTOR_OPTIONS",
    "METHOD_OPTIONS",
    "TASK_OPTIONS",
    "actor_resources",
    "check_actor_options",
    "check_method_options",
    "check_task_options",
    "merge_options",
    "task_resources",
]

_NUMBER = (float, int, type(None))
_INT = (int, type(None))
_TEXT = (str, type(None))
_FLAG = (bool, type(None))
_DICT = (dict, type(None))
RESOURCE_STEP = 0.0001  # resources are counted in this unit


class Option(NamedTuple):
    """What one option accepts: its types, its default, and a check of the value that returns a complaint or None."""

    types: tuple[type, ...] | None
    default: Any = None
    check: Callable[[Any], str | None] | None = None


def _gpus(value: Any) -> str | None:
    if value is None:
        return None
    complaint = quantity_complaint("num_gpus", value)
    if complaint is None and value > 1 and value != int(value):
        return f"num_gpus (GPU) must be a whole number when it is above 1, got {value}"
    return complaint


def _quantity(name: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return None if value is None else quantity_complaint(name, value)

    return check


def quantity_complaint(name: str, value: Any) -> str | None:
    """What is wrong with an amount of a resource; None when nothing is."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return f"The quantity of resource {name} must be a number, got {value!r} of {type(value)}"
    if not math.isfinite(value):
        return f"The quantity of resource {name} must be a finite number, got {value!r}"
    if value < 0:
        return f"The quantity of resource {name} cannot be negative"
    if 0 < value < RESOURCE_STEP:
        return f"The precision of the fractional quantity of resource {name} cannot go beyond {RESOURCE_STEP}"
    return None


def _count_or_forever(name: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None or value >= -1:
            return None
        return f"The keyword '{name}' only accepts None, 0, -1 or a positive integer, where -1 represents infinity."

    return check


def _count(name: str) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if value is None or value >= 0:
            return None
        return f"The keyword '{name}' only accepts None, 0 or a positive integer."

    return check


def _num_returns(value: Any) -> str | None:
    if value is None or value in ("streaming", "dynamic") or (isinstance(value, int) and value >= 0):
        return None
    return (
        "The keyword 'num_returns' only accepts None, a non-negative integer, 'streaming' (for generators), or "
        f"'dynamic'; got {value!r}. None means 1, and 'streaming' for generators."
    )


def _retry_exceptions(value: Any) -> str | None:
    if isinstance(value, bool):
        return None
    if all(isinstance(item, type) and issubclass(item, BaseException) for item in value):
        return None
    return "retry_exceptions must be either a boolean or a list of exceptions"


def _resources(value: Any) -> str | None:
    for name, amount in (value or {}).items():
        if not isinstance(name, str) or not name:
            return f"The names in 'resources' must be non-empty strings, got {name!r}"
        if name in ("CPU", "GPU"):
            return (
                "Use the 'num_cpus' and 'num_gpus' keyword instead of 'CPU' and 'GPU' in 'resources' keyword"
            )
        complaint = quantity_complaint(name, amount)
        if complaint:
            return complaint
    return None


def _lifetime(value: Any) -> str | None:
    if value in (None, "detached", "non_detached"):
        return None
    return "actor `lifetime` argument must be one of 'detached', 'non_detached' and 'None'."


def _label_selector(value: Any) -> str | None:
    from narke._private.strategies import selector_complaint

    return selector_complaint(value)


def _fallback_strategy(value: Any) -> str | None:
    for entry in value or ():
        if not isinstance(entry, dict) or set(entry) - {"label_selector"}:
            return f"fallback_strategy must be a list of dicts with the key 'label_selector', got {entry!r}"
        complaint = _label_selector(entry.get("label_selector"))
        if complaint:
            return complaint
    return None


def _backpressure(value: Any) -> str | None:
    if value is None or value > 0 or value == -1:
        return None
    return f"The backpressure of a generator must be positive, or -1 for no bound; got {value}"


def _per_yield(value: Any) -> str | None:
    return None if value in (None, 1) else "_num_objects_per_yield accepts 1 only"


_SHARED = {
    "label_selector": Option(_DICT, None, _label_selector),
    "fallback_strategy": Option((list, type(None)), None, _fallback_strategy),
    "accelerator_type": Option(_TEXT),
    "memory": Option(_NUMBER, None, _quantity("memory")),
    "name": Option(_TEXT),
    "num_cpus": Option(_NUMBER, None, _quantity("num_cpus")),
    "num_gpus": Option(_NUMBER, None, _gpus),
    "object_store_memory": Option(_INT, None, _quantity("object_store_memory")),
    "placement_group": Option(None, "default"),
    "placement_group_bundle_index": Option((int,), -1),
    "placement_group_capture_child_tasks": Option(_FLAG),
    "resources": Option(_DICT, None, _resources),
    "runtime_env": Option(_DICT),
    "scheduling_strategy": Option(None),
    "enable_task_events": Option((bool,), True),
    "_labels": Option(_DICT),
    "_preload": Option((tuple, type(None))),  # modules, see narke._private.preloads
}
TASK_OPTIONS: dict[str, Option] = {
    **_SHARED,
    "max_calls": Option(_INT, 0, _count("max_calls")),
    "max_retries": Option(_INT, 3, _count_or_forever("max_retries")),
    "num_returns": Option((int, str, type(None)), None, _num_returns),
    "retry_exceptions": Option((bool, list, tuple), False, _retry_exceptions),
    "_generator_backpressure_num_objects": Option(_INT, None, _backpressure),
    "_num_objects_per_yield": Option(_INT, 1, _per_yield),
}
ACTOR_OPTIONS: dict[str, Option] = {
    **_SHARED,
    "concurrency_groups": Option((list, dict, type(None))),
    "enable_tensor_transport": Option(_FLAG),
    "lifetime": Option(_TEXT, None, _lifetime),
    "max_concurrency": Option(_INT, None, _count("max_concurrency")),
    "max_restarts": Option(_INT, 0, _count_or_forever("max_restarts")),
    "max_task_retries": Option(_INT, 0, _count_or_forever("max_task_retries")),
    "max_pending_calls": Option(_INT, -1, _count_or_forever("max_pending_calls")),
    "namespace": Option(_TEXT),
    "get_if_exists": Option((bool,), False),
    "allow_out_of_order_execution": Option(_FLAG),
    "_actor_generator_backpressure_num_objects": Option(_INT, None, _backpressure),
}
METHOD_OPTIONS: dict[str, Option] = {
    "num_returns": TASK_OPTIONS["num_returns"],
    "concurrency_group": Option(_TEXT),
    "max_task_retries": ACTOR_OPTIONS["max_task_retries"],
    "retry_exceptions": TASK_OPTIONS["retry_exceptions"],
    "name": Option(_TEXT),
    "enable_task_events": Option((bool,), True),
    "tensor_transport": Option(_TEXT),
    "_generator_backpressure_num_objects": TASK_OPTIONS["_generator_backpressure_num_objects"],
    "_num_objects_per_yield": TASK_OPTIONS["_num_objects_per_yield"],
    "_labels": Option(_DICT),
}


def check_task_options(options: Mapping[str, Any], *, in_options: bool = False) -> None:
    """Check options of a remote function.

    Args:
        options: name to value.
        in_options: they come from ``.options()``, where `max_calls` is refused: it belongs to the function.

    Raises:
        TypeError: a value's type is wrong.
        ValueError: an option is unknown or a value is out of bounds.
    """
    _check(options, TASK_OPTIONS, "remote functions")
    if in_options and "max_calls" in options:
        raise ValueError("Setting 'max_calls' is not supported in '.options()'.")
    _check_placement(options)


def check_actor_options(options: Mapping[str, Any], *, in_options: bool = False) -> None:
    """Check options of an actor class.

    Args:
        options: name to value.
        in_options: they come from ``.options()``, where concurrency groups are refused.

    Raises:
        TypeError: a value's type is wrong.
        ValueError: an option is unknown, a value is out of bounds, or two contradict each other.
    """
    _check(options, ACTOR_OPTIONS, "actors")
    if in_options and "concurrency_groups" in options:
        raise ValueError("Setting 'concurrency_groups' is not supported in '.options()'.")
    if options.get("get_if_exists") and not options.get("name"):
        raise ValueError("The actor name must be specified to use `get_if_exists`.")
    _check_placement(options)


def check_method_options(options: Mapping[str, Any]) -> None:
    """Check options of one actor method; raises as `check_task_options`."""
    _check(options, METHOD_OPTIONS, "actor methods")


def _check(options: Mapping[str, Any], known: Mapping[str, Option], target: str) -> None:
    for name, value in options.items():
        option = known.get(name)
        if option is None:
            raise ValueError(f"Invalid option keyword {name} for {target}. Valid ones are {list(known)}.")
        _check_value(name, option, value)


def _check_value(name: str, option: Option, value: Any) -> None:
    types = _PLACEMENT_TYPES[name]() if name in _PLACEMENT_TYPES else option.types
    wrong_bool = isinstance(value, bool) and types is not None and bool not in types
    if types is not None and (wrong_bool or not isinstance(value, types)):
        wanted = types[0] if len(types) == 1 else types
        raise TypeError(f"The type of keyword '{name}' must be {wanted}, but received type {type(value)}")
    complaint = option.check(value) if option.check else None
    if complaint:
        raise ValueError(complaint)


def _strategy_types() -> tuple[type, ...]:
    from narke.util import scheduling_strategies as s

    return (
        type(None),
        str,
        s.PlacementGroupSchedulingStrategy,
        s.NodeAffinitySchedulingStrategy,
        s.NodeLabelSchedulingStrategy,
    )


def _group_types() -> tuple[type, ...]:
    module = sys.modules.get("narke.util.placement_group")
    return (type(None), str, module.PlacementGroup) if module else (type(None), str)


_PLACEMENT_TYPES: dict[str, Callable[[], tuple[type, ...]]] = {
    "scheduling_strategy": _strategy_types,
    "placement_group": _group_types,
}


def _check_placement(options: Mapping[str, Any]) -> None:
    strategy = options.get("scheduling_strategy")
    group = options.get("placement_group", "default")
    if isinstance(strategy, str) and strategy not in ("DEFAULT", "SPREAD"):
        raise ValueError(
            f'Invalid scheduling_strategy value {strategy}. Valid values are ["DEFAULT" | "SPREAD" | '
            "PlacementGroupSchedulingStrategy | NodeAffinitySchedulingStrategy | NodeLabelSchedulingStrategy]"
        )
    if isinstance(group, str) and group != "default":
        raise ValueError(f'placement_group must be a PlacementGroup, None or "default", got {group!r}')
    if strategy is not None and group not in ("default", None):
        raise ValueError(
            "Placement groups should be specified via the scheduling_strategy option. "
            "The placement_group option is deprecated; do not use both."
        )


def merge_options(base: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """The options of `base` overridden by `new`; `_labels` are merged, everything else is replaced."""
    merged = {**base, **new}
    if base.get("_labels") and new.get("_labels"):
        merged["_labels"] = {**base["_labels"], **new["_labels"]}
    if new.get("scheduling_strategy") is not None and "placement_group" not in new:
        merged.pop("placement_group", None)
    if new.get("placement_group", "default") != "default" and "scheduling_strategy" not in new:
        merged.pop("scheduling_strategy", None)
    return merged


def task_resources(options: Mapping[str, Any]) -> dict[str, float]:
    """What a task holds while it runs: resource name to amount."""
    cpus = options.get("num_cpus")
    return _resources_with(options, 1 if cpus is None else cpus)


def actor_resources(options: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, float]]:
    """What must be free to place an actor, and what it holds while it lives.

    An actor with no resources named needs one CPU to be placed and holds none; one with any named holds a CPU
    unless ``num_cpus`` says otherwise.
    """
    cpus = options.get("num_cpus")
    if cpus is None and options.get("num_gpus") is None and not options.get("resources"):
        return _resources_with(options, 1), _resources_with(options, 0)
    held = _resources_with(options, 1 if cpus is None else cpus)
    return held, dict(held)


def _resources_with(options: Mapping[str, Any], cpus: float) -> dict[str, float]:
    amounts = {"CPU": cpus, "GPU": options.get("num_gpus") or 0, "memory": int(options.get("memory") or 0)}
    amounts.update(options.get("resources") or {})
    if options.get("object_store_memory"):
        amounts["object_store_memory"] = options["object_store_memory"]
    if options.get("accelerator_type"):
        amounts[f"accelerator_type:{options['accelerator_type']}"] = 0.001
    return {name: float(amount) for name, amount in amounts.items() if amount}
