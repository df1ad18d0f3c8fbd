"""Where a task or an actor should run: values for the option ``scheduling_strategy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from narke.util.annotations import PublicAPI

if TYPE_CHECKING:
    from narke.util.placement_group import PlacementGroup

__all__ = [
    "DoesNotExist",
    "Exists",
    "In",
    "LabelMatchExpressionsT",
    "NodeAffinitySchedulingStrategy",
    "NodeLabelSchedulingStrategy",
    "NotIn",
    "PlacementGroupSchedulingStrategy",
    "SchedulingStrategyT",
]

_NODE_ID_HEX_DIGITS = 56


@PublicAPI
class PlacementGroupSchedulingStrategy:
    """Run in a bundle of a placement group.

    Args:
        placement_group: the group; None for outside of any.
        placement_group_bundle_index: index of the bundle, -1 for any.
        placement_group_capture_child_tasks: whether what the task or actor submits runs in the group too.
    """

    def __init__(
        self,
        placement_group: PlacementGroup,
        placement_group_bundle_index: int = -1,
        placement_group_capture_child_tasks: bool | None = None,
    ) -> None:
        self.placement_group = placement_group
        self.placement_group_bundle_index = placement_group_bundle_index
        self.placement_group_capture_child_tasks = placement_group_capture_child_tasks


@PublicAPI
class NodeAffinitySchedulingStrategy:
    """Run on one node.

    Args:
        node_id: the node's id as 56 hexadecimal digits.
        soft: run elsewhere when the node is gone or can never fit the request, instead of failing.
        _spill_on_unavailable: with `soft`, run elsewhere also while the node is busy.
        _fail_on_unavailable: without `soft`, fail at once while the node is busy.

    Raises:
        ValueError: `node_id` is no node id, or the options contradict each other.
    """

    def __init__(
        self,
        node_id: str,
        soft: bool,
        _spill_on_unavailable: bool = False,
        _fail_on_unavailable: bool = False,
    ) -> None:
        self.node_id = _node_id_text(node_id)
        if _spill_on_unavailable and not soft:
            raise ValueError("_spill_on_unavailable needs soft=True: a hard affinity never leaves its node")
        if _fail_on_unavailable and soft:
            raise ValueError(
                "_fail_on_unavailable needs soft=False: a soft affinity goes to another node instead"
            )
        self.soft = soft
        self._spill_on_unavailable = _spill_on_unavailable
        self._fail_on_unavailable = _fail_on_unavailable


def _node_id_text(node_id: Any) -> str:
    text = node_id if isinstance(node_id, str) else node_id.hex()
    digits = "0123456789abcdefABCDEF"
    if len(text) != _NODE_ID_HEX_DIGITS or text.strip(digits):
        raise ValueError(
            f"Invalid node_id {node_id!r}: a node id has {_NODE_ID_HEX_DIGITS} hexadecimal digits; "
            "narke.nodes() lists the nodes of the cluster with theirs"
        )
    return text


class _Values:
    """A label operator over a set of values."""

    def __init__(self, *values: str) -> None:
        self.values = list(values)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.values == other.values  # type: ignore[attr-defined]

    def __hash__(self) -> int:
        return hash((type(self), tuple(self.values)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.values))})"


@PublicAPI(stability="alpha")
class In(_Values):
    """The label has one of the values."""

    def __init__(self, *values: str) -> None:
        super().__init__(*_checked_values("In", values))


@PublicAPI(stability="alpha")
class NotIn(_Values):
    """The label has none of the values, or is absent."""

    def __init__(self, *values: str) -> None:
        super().__init__(*_checked_values("NotIn", values))


@PublicAPI(stability="alpha")
class Exists:
    """The label is present, with any value."""

    def __repr__(self) -> str:
        return "Exists()"


@PublicAPI(stability="alpha")
class DoesNotExist:
    """The label is absent."""

    def __repr__(self) -> str:
        return "DoesNotExist()"


def _checked_values(operator: str, values: tuple[Any, ...]) -> tuple[str, ...]:
    example = f'e.g. {operator}("value1", "value2")'
    if not values:
        raise ValueError(f"{operator} needs at least one value, {example}")
    for position, value in enumerate(values):
        if not isinstance(value, str):
            raise ValueError(
                f"{operator} takes strings, {example}; the value in position {position} is "
                f"{value!r} of {type(value)}"
            )
    return values


LabelMatchExpressionsT = dict[str, In | NotIn | Exists | DoesNotExist]


@PublicAPI(stability="alpha")
class NodeLabelSchedulingStrategy:
    """Run on a node with certain labels.

    Args:
        hard: conditions the node must meet, label key to `In`, `NotIn`, `Exists` or `DoesNotExist`.
        soft: conditions it meets when possible.

    Raises:
        ValueError: both are empty, or a condition is malformed.
    """

    def __init__(self, hard: LabelMatchExpressionsT, *, soft: LabelMatchExpressionsT | None = None) -> None:
        self.hard = _checked_conditions("hard", hard)
        self.soft = _checked_conditions("soft", soft)
        if not self.hard and not self.soft:
            raise ValueError(
                "The `hard` and `soft` parameter of NodeLabelSchedulingStrategy cannot both be empty; "
                'give a condition such as hard={"region": In("eu-north-1")}'
            )


def _checked_conditions(name: str, conditions: Any) -> LabelMatchExpressionsT:
    if conditions is None:
        return {}
    example = 'e.g. {"key1": In("value1")}'
    if not isinstance(conditions, dict):
        raise ValueError(f"The {name} parameter must be a map ({example}) but got type {type(conditions)}")
    for key, condition in conditions.items():
        if not isinstance(key, str):
            raise ValueError(
                f"The map key of the {name} parameter must be of type str ({example}) but got {key} of type "
                f"{type(key)}"
            )
        if not isinstance(condition, (In, NotIn, Exists, DoesNotExist)):
            raise ValueError(
                f"The map value for key {key} of the {name} parameter must be one of the `In`, `NotIn`, "
                "`Exists` "
                f"or `DoesNotExist` operator ({example}) but got {condition} of type {type(condition)}"
            )
    return dict(conditions)


SchedulingStrategyT = (
    str
    | PlacementGroupSchedulingStrategy
    | NodeAffinitySchedulingStrategy
    | NodeLabelSchedulingStrategy
    | None
)
"""None, ``"DEFAULT"``, ``"SPREAD"`` or one of the classes above."""
