"""Search-space primitives: where a value may lie (a `Domain`) and how it is drawn (a `Sampler`).

Every draw takes a `RandomState`: None draws from numpy's global generator (so `numpy.random.seed` repeats a search),
a number or a generator from that one.
"""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Union

import numpy as np

__all__ = [
    "BaseSampler",
    "Categorical",
    "Domain",
    "Float",
    "Function",
    "Grid",
    "Integer",
    "LEGACY_RNG",
    "LogUniform",
    "Normal",
    "Quantized",
    "RandomState",
    "Sampler",
    "Uniform",
    "choice",
    "lograndint",
    "loguniform",
    "np_random_generator",
    "qlograndint",
    "qloguniform",
    "qrandint",
    "qrandn",
    "quniform",
    "randint",
    "randn",
    "sample_from",
    "uniform",
]

LEGACY_RNG = False
np_random_generator = np.random.Generator


class _GlobalNumpyRng:
    """numpy's global generator, or a `numpy.random.RandomState`, under the names of `numpy.random.Generator`."""

    def __init__(self, generator: np.random.RandomState | None = None) -> None:
        self._source: Any = generator if generator is not None else np.random

    def integers(self, low: int, high: int, size: int | None = None) -> Any:
        """Draw integers in [low, high)."""
        return self._source.randint(low, high, size)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


RandomState = Union[None, _GlobalNumpyRng, np.random.Generator, np.random.RandomState, int]  # noqa: UP007
_Rng = Union[_GlobalNumpyRng, np.random.Generator]  # noqa: UP007


def _rng(random_state: RandomState) -> _Rng:
    if isinstance(random_state, (np.random.Generator, _GlobalNumpyRng)):
        return random_state
    if hasattr(random_state, "integers") and hasattr(random_state, "uniform"):
        # Search libraries that build on these domains wrap generators of their own.
        return random_state  # type: ignore[return-value]
    if random_state is None or isinstance(random_state, np.random.RandomState):
        return _GlobalNumpyRng(random_state)
    return np.random.default_rng(random_state)


class Sampler:
    """How values are drawn from a domain."""

    def sample(
        self, domain: Domain, config: Any = None, size: int = 1, random_state: RandomState = None
    ) -> Any:
        """Draw `size` values; one value by itself, several as a list or array.

        Args:
            domain: where the values lie.
            config: what is known of the configuration, for functions.
            size: how many.
            random_state: None, a seed or a generator.
        """
        raise NotImplementedError


class BaseSampler(Sampler):
    """A sampler that stands for itself."""

    def __str__(self) -> str:
        return "Base"


class Uniform(Sampler):
    """Every value is equally likely."""

    def __str__(self) -> str:
        return "Uniform"


class LogUniform(Sampler):
    """The logarithm of the value is uniform."""

    def __init__(self, base: float = 10) -> None:
        if not base > 0:
            raise ValueError(f"the base of a logarithm must be greater than 0, not {base}")
        self.base = base

    def __str__(self) -> str:
        return "LogUniform"


class Normal(Sampler):
    """Normally distributed values."""

    def __init__(self, mean: float = 0.0, sd: float = 0.0) -> None:
        if not sd > 0:
            raise ValueError(f"a standard deviation must be greater than 0, not {sd}")
        self.mean = mean
        self.sd = sd

    def __str__(self) -> str:
        return "Normal"


class Grid(Sampler):
    """Stands for all values, one after the other."""

    def sample(
        self, domain: Domain, config: Any = None, size: int = 1, random_state: RandomState = None
    ) -> Any:
        """Refused: the variant generator expands a grid."""
        raise RuntimeError(f"a grid over {domain.domain_str} is expanded, not sampled; use generate_variants")


class Domain:
    """A set of values that a hyperparameter may take, with the sampler that draws from it."""

    sampler: Sampler | None = None
    default_sampler_cls: type[Sampler] | None = None

    def cast(self, value: Any) -> Any:
        """Give the value the type of this domain."""
        return value

    def set_sampler(self, sampler: Sampler, allow_override: bool = False) -> None:
        """Choose how values are drawn.

        Raises:
            ValueError: a sampler is chosen already and `allow_override` is False.
        """
        if self.sampler and not allow_override:
            raise ValueError(
                "You can only choose one sampler for parameter domains. Existing sampler for parameter "
                f"{type(self).__name__}: {self.sampler}. Tried to add {sampler}"
            )
        self.sampler = sampler

    def get_sampler(self) -> Sampler:
        """Return the chosen sampler, else the default one."""
        if self.sampler is not None:
            return self.sampler
        if self.default_sampler_cls is None:
            raise ValueError(f"{type(self).__name__} has no sampler: choose one, for instance .uniform()")
        return self.default_sampler_cls()

    def sample(self, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        """Draw `size` values; see `Sampler.sample`."""
        return self.get_sampler().sample(self, config=config, size=size, random_state=_rng(random_state))

    def is_grid(self) -> bool:
        """Whether this stands for each of its values in turn."""
        return isinstance(self.sampler, Grid)

    def is_function(self) -> bool:
        """Whether values come from a function."""
        return False

    def is_valid(self, value: Any) -> bool:
        """Whether a value lies in the domain."""
        raise NotImplementedError

    @property
    def domain_str(self) -> str:
        """The domain in words, for tables."""
        return "(unknown)"


def _bounds_checked(domain: Any, low: float, high: float) -> tuple[float, float]:
    name = type(domain).__name__
    for bound, value in (("lower", domain.lower), ("upper", domain.upper)):
        if value in (-math.inf, math.inf):
            raise ValueError(
                f"Uniform requires a {bound} bound. Make sure to set the `{bound}` parameter of `{name}()`."
            )
    return low, high


class _FloatUniform(Uniform):
    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        items = _rng(random_state).uniform(domain.lower, domain.upper, size=size)
        return items if len(items) > 1 else domain.cast(items[0])


class _FloatLogUniform(LogUniform):
    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        # The base of the logarithm makes no difference to a uniform distribution of it.
        items = np.exp(_rng(random_state).uniform(np.log(domain.lower), np.log(domain.upper), size=size))
        return items if len(items) > 1 else domain.cast(items[0])


class _FloatNormal(Normal):
    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        items = _rng(random_state).normal(self.mean, self.sd, size=size)
        return items if len(items) > 1 else domain.cast(items[0])


class Float(Domain):
    """Real numbers between two bounds; None leaves a side open."""

    _Uniform = _FloatUniform
    _LogUniform = _FloatLogUniform
    _Normal = _FloatNormal
    default_sampler_cls = _FloatUniform

    def __init__(self, lower: float | None, upper: float | None) -> None:
        self.lower: float = lower if lower is not None else -math.inf
        self.upper: float = upper if upper is not None else math.inf

    def cast(self, value: Any) -> float:
        """Return the value as a float."""
        return float(value)

    def uniform(self) -> Float:
        """Return this domain with a uniform distribution; it needs both bounds."""
        _bounds_checked(self, self.lower, self.upper)
        return _with_sampler(self, self._Uniform())

    def loguniform(self, base: float = 10) -> Float:
        """Return this domain with a uniform distribution of the logarithm; bounds must be positive."""
        return _with_sampler(_positive(self), self._LogUniform(base))

    def normal(self, mean: float = 0.0, sd: float = 1.0) -> Float:
        """Return this domain with a normal distribution."""
        return _with_sampler(self, self._Normal(mean, sd))

    def quantized(self, q: float) -> Float:
        """Return this domain with values rounded to multiples of `q`, which must divide both bounds."""
        for side, bound in (("lower", self.lower), ("upper", self.upper)):
            if math.isfinite(bound) and not math.isclose(bound / q, round(bound / q)):
                raise ValueError(
                    f"Your {side} variable bound {bound} is not divisible by quantization factor {q}."
                )
        return _with_sampler(self, Quantized(self.get_sampler(), q), allow_override=True)

    def is_valid(self, value: Any) -> bool:
        """Whether the value lies between the bounds, both included."""
        return self.lower <= value <= self.upper

    @property
    def domain_str(self) -> str:
        """The bounds."""
        return f"({self.lower}, {self.upper})"


class _IntegerUniform(Uniform):
    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        items = _rng(random_state).integers(domain.lower, domain.upper, size=size)
        return items if len(items) > 1 else domain.cast(items[0])


class _IntegerLogUniform(LogUniform):
    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        drawn = np.exp(_rng(random_state).uniform(np.log(domain.lower), np.log(domain.upper), size=size))
        items = np.floor(drawn).astype(int)
        return items if len(items) > 1 else domain.cast(items[0])


class Integer(Domain):
    """Whole numbers from `lower` up to, without, `upper`."""

    _Uniform = _IntegerUniform
    _LogUniform = _IntegerLogUniform
    default_sampler_cls = _IntegerUniform

    def __init__(self, lower: int, upper: int) -> None:
        self.lower = lower
        self.upper = upper

    def cast(self, value: Any) -> int:
        """Return the value as an int."""
        return int(value)

    def uniform(self) -> Integer:
        """Return this domain with a uniform distribution."""
        return _with_sampler(self, self._Uniform())

    def loguniform(self, base: float = 10) -> Integer:
        """Return this domain with a uniform distribution of the logarithm; bounds must be positive."""
        return _with_sampler(_positive(self), self._LogUniform(base))

    def quantized(self, q: int) -> Integer:
        """Return this domain with values rounded to multiples of `q`."""
        return _with_sampler(self, Quantized(self.get_sampler(), q), allow_override=True)

    def is_valid(self, value: Any) -> bool:
        """Whether the value lies between the bounds, both included."""
        return self.lower <= value <= self.upper

    @property
    def domain_str(self) -> str:
        """The bounds."""
        return f"({self.lower}, {self.upper})"


def _with_sampler(domain: Any, sampler: Sampler, allow_override: bool = False) -> Any:
    chosen = copy.copy(domain)
    chosen.set_sampler(sampler, allow_override=allow_override)
    return chosen


def _positive(domain: Any) -> Any:
    for side, value in (("lower", domain.lower), ("upper", domain.upper)):
        if not value > 0 or value == math.inf:
            raise ValueError(
                f"LogUniform requires a {side} bound greater than 0.Got: {value}. Did you pass a variable that has "
                "been log-transformed? If so, pass the non-transformed value instead."
            )
    return domain


class _CategoricalUniform(Uniform):
    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        if not domain.categories:
            raise ValueError(
                "a choice needs at least one category: 'a' cannot be empty unless no samples are taken"
            )
        places = _rng(random_state).choice(np.arange(0, len(domain.categories)), size=size)
        items = [domain.categories[place] for place in places]
        return items if len(items) > 1 else domain.cast(items[0])


class Categorical(Domain):
    """One of some values of any kind."""

    _Uniform = _CategoricalUniform
    default_sampler_cls = _CategoricalUniform

    def __init__(self, categories: Sequence[Any]) -> None:
        self.categories = list(categories)

    def uniform(self) -> Categorical:
        """Return this domain with every category equally likely."""
        return _with_sampler(self, self._Uniform())

    def grid(self) -> Categorical:
        """Return this domain as a grid: each category in turn."""
        return _with_sampler(self, Grid())

    def __len__(self) -> int:
        return len(self.categories)

    def __getitem__(self, item: int) -> Any:
        return self.categories[item]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.categories)

    def is_valid(self, value: Any) -> bool:
        """Whether the value is one of the categories."""
        return value in self.categories

    @property
    def domain_str(self) -> str:
        """The categories."""
        return f"{self.categories}"


class _FunctionCall(BaseSampler):
    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        items = [domain.func(config) if domain.pass_config else domain.func() for _ in range(size)]
        return items if len(items) > 1 else domain.cast(items[0])


class Function(Domain):
    """Values that a function makes, from what is known of the configuration if it takes an argument."""

    _CallSampler = _FunctionCall
    default_sampler_cls = _FunctionCall

    def __init__(self, func: Callable[..., Any]) -> None:
        self.func = func
        self.pass_config = self._takes_argument(func)

    @staticmethod
    def _takes_argument(func: Callable[..., Any]) -> bool:
        try:
            parameters = inspect.signature(func).parameters
        except ValueError:  # builtins without a signature
            return False
        return len(parameters) > 0

    def is_function(self) -> bool:
        """True: values come from a function."""
        return True

    def is_valid(self, value: Any) -> bool:
        """True: a function may give anything."""
        return True

    @property
    def domain_str(self) -> str:
        """The function."""
        return f"{self.func}()"


class Quantized(Sampler):
    """Rounds what another sampler draws to multiples of `q`."""

    def __init__(self, sampler: Sampler, q: float) -> None:
        self.sampler = sampler
        self.q = q

    def get_sampler(self) -> Sampler:
        """Return the sampler that draws before the rounding."""
        return self.sampler

    def sample(self, domain: Any, config: Any = None, size: int = 1, random_state: RandomState = None) -> Any:
        """Draw and round; `q` of 1 leaves the draw as it is."""
        random_state = _rng(random_state)
        if self.q == 1:
            drawn = self.sampler.sample(domain, config, size, random_state=random_state)
            return [domain.cast(value) for value in drawn] if size > 1 else drawn
        if isinstance(self.sampler, _IntegerUniform):
            # Every multiple within the bounds is equally likely.
            first, last = math.ceil(domain.lower / self.q), math.floor(domain.upper / self.q)
            rounded = np.atleast_1d(random_state.integers(first, last + 1, size=size)) * self.q
        else:
            inner = copy.copy(domain)
            inner.lower = np.ceil(domain.lower / self.q) * self.q
            inner.upper = np.floor(domain.upper / self.q) * self.q
            drawn = np.atleast_1d(self.sampler.sample(inner, config, size, random_state=random_state))
            rounded = np.round(drawn / self.q) * self.q
        values = [domain.cast(value) for value in rounded]
        return values if len(values) > 1 else values[0]


def sample_from(func: Callable[..., Any]) -> Function:
    """A value that `func` makes; with a parameter it gets the configuration resolved so far."""
    return Function(func)


def uniform(lower: float, upper: float) -> Float:
    """A float, uniform in [lower, upper)."""
    return Float(lower, upper).uniform()


def quniform(lower: float, upper: float, q: float) -> Float:
    """A float, uniform in [lower, upper], rounded to multiples of `q`."""
    return Float(lower, upper).uniform().quantized(q)


def loguniform(lower: float, upper: float, base: float = 10) -> Float:
    """A float in [lower, upper) whose logarithm is uniform."""
    return Float(lower, upper).loguniform(base)


def qloguniform(lower: float, upper: float, q: float, base: float = 10) -> Float:
    """A float in [lower, upper] whose logarithm is uniform, rounded to multiples of `q`."""
    return Float(lower, upper).loguniform(base).quantized(q)


def choice(categories: Sequence[Any]) -> Categorical:
    """One of the categories, each as likely; a category may hold further search spaces."""
    return Categorical(categories).uniform()


def randint(lower: int, upper: int) -> Integer:
    """An integer, uniform from `lower` up to, without, `upper`."""
    return Integer(lower, upper).uniform()


def lograndint(lower: int, upper: int, base: float = 10) -> Integer:
    """An integer from `lower` up to, without, `upper`, whose logarithm is uniform."""
    return Integer(lower, upper).loguniform(base)


def qrandint(lower: int, upper: int, q: int = 1) -> Integer:
    """An integer from `lower` to `upper`, rounded to multiples of `q`; with `q` of 1 `upper` is not drawn."""
    return Integer(lower, upper).uniform().quantized(q)


def qlograndint(lower: int, upper: int, q: int, base: float = 10) -> Integer:
    """An integer from `lower` to `upper` whose logarithm is uniform, rounded to multiples of `q`."""
    return Integer(lower, upper).loguniform(base).quantized(q)


def randn(mean: float = 0.0, sd: float = 1.0) -> Float:
    """A normally distributed float."""
    return Float(None, None).normal(mean, sd)


def qrandn(mean: float, sd: float, q: float) -> Float:
    """A normally distributed float, rounded to multiples of `q`."""
    return Float(None, None).normal(mean, sd).quantized(q)
