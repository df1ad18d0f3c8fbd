"""Expands a specification with grids and domains into concrete ones.

A *variable* is a leaf that is not a value yet: a domain, a ``{"grid_search": [...]}``, or an ``{"eval": text}``.
Variables inside of values that were drawn (a choice among dicts with domains) are resolved in turn.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any

from narke.tune.error import TuneError
from narke.tune.search.sample import Categorical, Domain, Function, RandomState

__all__ = [
    "RecursiveDependencyError",
    "assign_value",
    "format_vars",
    "generate_variants",
    "grid_search",
    "parse_spec_vars",
]

Path = tuple[Any, ...]


class RecursiveDependencyError(Exception):
    """Values of a search space that are computed from each other in a circle."""

    def __init__(self, msg: str) -> None:
        super().__init__(msg)


def grid_search(values: Any) -> dict[str, Any]:
    """Try each of these values; grids of several parameters multiply."""
    return {"grid_search": values}


def generate_variants(
    unresolved_spec: dict[str, Any],
    constant_grid_search: bool = False,
    random_state: RandomState = None,
) -> Iterator[tuple[dict[Path, Any], dict[str, Any]]]:
    """Yield every variant of a specification: (the variables' values by path, the specification with them).

    Args:
        unresolved_spec: nested dicts and lists with variables as leaves; left as it is.
        constant_grid_search: draw once and keep the drawn values for all combinations of the grids.
        random_state: None, a seed or a generator.

    Raises:
        RecursiveDependencyError: values made by functions depend on each other in a circle.
        ValueError: one variable has two different values.
    """
    yield from _variants(unresolved_spec, constant_grid_search, random_state)


def parse_spec_vars(
    spec: dict[str, Any],
) -> tuple[list[tuple[Path, Any]], list[tuple[Path, Any]], list[tuple[Path, Any]]]:
    """Return the leaves of a specification by path: values, domains, and grids (as lists of values)."""
    resolved, variables = _split(spec)
    grids = [(path, _grid_values(path, value)) for path, value in variables if _is_grid(value)]
    domains = [(path, value) for path, value in variables if not _is_grid(value)]
    return resolved, domains, grids


def assign_value(spec: dict[str, Any], path: Path, value: Any) -> None:
    """Put a value at a path."""
    parent: Any = spec
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value


def format_vars(resolved_vars: dict[Path, Any]) -> str:
    """The variables and their values in one line, as it stands in a trial's tag and folder."""
    ordered = sorted(resolved_vars.items(), key=lambda item: [str(key) for key in item[0]])
    return ",".join(f"{path[-1]}={_clean_value(value)}" for path, value in ordered)


def _clean_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4f}"
    return re.sub(r"[^\w-]+", "_", str(value)).strip("_")


def _variants(
    spec: dict[str, Any], constant_grid_search: bool, rng: Any
) -> Iterator[tuple[dict[Path, Any], dict[str, Any]]]:
    spec = _copy_containers(spec)
    _, domains, grids = parse_spec_vars(spec)
    if not domains and not grids:
        yield {}, spec
        return
    constant: dict[Path, Any] = {}
    if constant_grid_search:
        constant = _resolve_domains(spec, domains, rng, allow_fail=True)
    open_domains = [(path, domain) for path, domain in domains if path not in constant]
    for combination in _grid_combinations(spec, grids):
        drawn = dict(constant)
        drawn.update(_resolve_domains(combination, open_domains, rng))
        for inner, resolved in _variants(combination, constant_grid_search, rng):
            yield _merged(drawn, grids, inner, resolved), resolved


def _merged(drawn: dict[Path, Any], grids: list, inner: dict[Path, Any], spec: Any) -> dict[Path, Any]:
    values = dict(drawn)
    for path, _ in grids:
        values[path] = _value_at(spec, path)
    for path, value in inner.items():
        if (
            path in values
            and value is not values[path]
            and value != values[path]
            and _is_resolved(values[path])
        ):
            raise ValueError(
                f"the variable {path} got two values, {value!r} and {values[path]!r}: "
                "do not draw a value for a key that a grid or a choice sets, too"
            )
        values[path] = value
    return values


def _grid_combinations(spec: dict[str, Any], grids: list[tuple[Path, Any]]) -> Iterator[dict[str, Any]]:
    """Every combination of the grids' values, the first grid changing fastest."""
    places = [0] * len(grids)
    while True:
        combination = _copy_containers(spec)
        for place, (path, values) in zip(places, grids, strict=True):
            assign_value(combination, path, values[place])
        yield combination
        for index, (_, values) in enumerate(grids):
            places[index] += 1
            if places[index] < len(values):
                break
            places[index] = 0
        else:
            return


def _resolve_domains(spec: Any, domains: list, rng: Any, allow_fail: bool = False) -> dict[Path, Any]:
    """Draw each domain into `spec`; functions that need what is not drawn yet come later."""
    resolved: dict[Path, Any] = {}
    error: RecursiveDependencyError | None = None
    for _ in range(20):
        waiting = [(path, domain) for path, domain in domains if path not in resolved]
        if not waiting:
            return resolved
        progress = len(waiting)
        for path, domain in waiting:
            try:
                value = _draw(spec, domain, rng)
            except RecursiveDependencyError as failure:
                error = failure
                continue
            except AttributeError as failure:
                raise ValueError(
                    f"the value of {'/'.join(map(str, path))} cannot be made from the rest of the "
                    f"configuration: {failure}; a function may use spec.config.<key> or spec['<key>']"
                ) from failure
            assign_value(spec, path, value)
            resolved[path] = value
            progress -= 1
        if progress == len(waiting):
            break
    if error is not None and not allow_fail and len(resolved) < len(domains):
        raise error
    return resolved


def _draw(spec: Any, domain: Any, rng: Any) -> Any:
    if isinstance(domain, dict):
        return eval(domain["eval"], {"spec": _Guard(spec), "np": __import__("numpy")})
    return (
        domain.sample(_Guard(spec), random_state=rng)
        if isinstance(domain, Function)
        else domain.sample(random_state=rng)
    )


class _Guard(dict):
    """What a function sees of the specification: attribute access, and an error for what is not drawn yet."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r} among {sorted(map(str, self))}") from None

    def __getitem__(self, name: Any) -> Any:
        # A function may say spec.config.x or, short, spec["x"].
        if name not in self and isinstance(dict.get(self, "config"), dict):
            return _Guard(dict.__getitem__(self, "config"))[name]
        return self._checked(name, dict.__getitem__(self, name))

    def get(self, name: Any, default: Any = None) -> Any:
        """Return a value that is drawn, or the default."""
        return self[name] if name in self else default

    @staticmethod
    def _checked(name: Any, value: Any) -> Any:
        if not _is_resolved(value):
            raise RecursiveDependencyError(f"`{name}` recursively depends on {value}")
        return _Guard(value) if isinstance(value, dict) else value


def _is_resolved(value: Any) -> bool:
    return not _is_variable(value)


def _is_variable(value: Any) -> bool:
    if isinstance(value, Domain):
        return True
    return isinstance(value, Mapping) and len(value) == 1 and ("grid_search" in value or "eval" in value)


def _is_grid(value: Any) -> bool:
    return (isinstance(value, Mapping) and "grid_search" in value) or (
        isinstance(value, Domain) and value.is_grid()
    )


def _grid_values(path: Path, value: Any) -> list[Any]:
    values = value.categories if isinstance(value, Categorical) else value["grid_search"]
    if not isinstance(values, (list, tuple, range)) and not hasattr(values, "tolist"):
        raise TuneError(f"Grid search expected list of values, got: {values} (of {'/'.join(map(str, path))})")
    if len(values) == 0:
        raise TuneError(f"the grid search over {'/'.join(map(str, path))} has no values")
    return list(values)


def _split(spec: Any, path: Path = ()) -> tuple[list[tuple[Path, Any]], list[tuple[Path, Any]]]:
    """The leaves below `spec`: values and variables."""
    if isinstance(spec, Mapping):
        items = list(spec.items())
    elif isinstance(spec, (list, tuple)):
        items = list(enumerate(spec))
    else:
        return [], []
    resolved: list[tuple[Path, Any]] = []
    variables: list[tuple[Path, Any]] = []
    for key, value in items:
        if _is_variable(value):
            variables.append(((*path, key), value))
        elif isinstance(value, (Mapping, list, tuple)) and value:
            inner_resolved, inner_variables = _split(value, (*path, key))
            resolved += inner_resolved
            variables += inner_variables
        else:
            resolved.append(((*path, key), value))
    return resolved, variables


def _value_at(spec: Any, path: Path) -> Any:
    for key in path:
        spec = spec[key]
    return spec


def has_unresolved_values(spec: Any) -> bool:
    """Whether a specification holds variables."""
    return bool(_split(spec)[1])


def _copy_containers(spec: Any) -> Any:
    """A copy of dicts and lists with the same leaves; tuples with variables inside become lists."""
    if isinstance(spec, dict):
        if type(spec) is not dict:
            clone = copy.copy(spec)
            for key, value in spec.items():
                clone[key] = _copy_containers(value)
            return clone
        return {key: _copy_containers(value) for key, value in spec.items()}
    if isinstance(spec, list):
        return [_copy_containers(value) for value in spec]
    if isinstance(spec, tuple) and _split(spec)[1]:
        return [_copy_containers(value) for value in spec]
    return spec
