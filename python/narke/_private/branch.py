"""A branch of the zygote: a zygote that has imported modules which the workers that it forks would import themselves.

What a worker sees must be as if it had imported them: a branch is fit for forking only when the imports left nothing
that a fork shares or loses (threads, processes, sockets, an accelerator's context), and for a job only when that job's
variables and module path would have given the same modules. Otherwise the worker is forked without them.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.machinery
import os
import random
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any

__all__ = ["Unfit", "check_job", "grow", "seeding"]

_MAX_MODULES = 16
_MAX_NAME = 128
_PACKAGES = ("site-packages", "dist-packages")
# What workers are told besides: where their cluster is, and which interpreter programs that they start have.
_OURS = ("RAY_ADDRESS", "NARKE_AS_RAY", "PATH", "VIRTUAL_ENV")
# Arrow's second allocator would start a thread as it is loaded; in a forked process it has none in any case.
_QUIET = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}


class Unfit(Exception):
    """Workers must be forked without the modules; the text says why."""


class _Grown:
    """What a branch has imported."""

    def __init__(self) -> None:
        self.packages: frozenset[str] = frozenset()
        self.installed: list[str] = []
        self.variables: dict[str, str] = {}
        self.generators: list[random.Random] = []


_grown: _Grown | None = None


def grow(modules: str) -> None:
    """Import modules in this process, which has just been forked from the zygote.

    Args:
        modules: their names, between commas. Those that are not installed are left out.

    Raises:
        Unfit: this process is not fit to be forked any more.
        ImportError, or whatever else a module raises.
    """
    global _grown
    made = _Grown()
    made.installed = _installed(sys.path)
    names = [name for name in _names(modules) if _is_installed(name, made.installed)]
    if not names:
        raise Unfit("none of them is installed")
    before = {_top(name) for name in sys.modules}
    files = _open_files()
    with _only(made.installed), _variables(_QUIET), _noted(made.generators):
        for name in names:
            importlib.import_module(name)
    made.packages = frozenset(_top(name) for name in sys.modules) - before
    made.variables = dict(os.environ)
    _require_alone(files)
    _require_no_other_generators()
    _grown = made


def _names(modules: str) -> list[str]:
    names = modules.split(",")
    if len(names) > _MAX_MODULES:
        raise Unfit(f"a set of modules has {_MAX_MODULES} names at most, not {len(names)}")
    for name in names:
        if len(name) > _MAX_NAME or not all(part.isidentifier() for part in name.split(".")):
            raise Unfit(f"{name[:_MAX_NAME]!r} is no name of a module")
    return names


def _is_installed(name: str, places: list[str]) -> bool:
    return importlib.machinery.PathFinder.find_spec(_top(name), places) is not None


def _top(name: str) -> str:
    return name.partition(".")[0]


def _installed(path: list[str]) -> list[str]:
    """The entries of a module path that hold what is installed for every program: nobody's own files."""
    import narke

    own = os.path.dirname(os.path.dirname(os.path.abspath(narke.__file__)))
    library = os.path.dirname(os.__file__)
    return [
        entry
        for entry in path
        if entry in (own, library)
        or entry.startswith(library + os.sep)
        or os.path.basename(entry) in (*_PACKAGES, os.path.basename(library).replace(".", "") + ".zip")
    ]


@contextlib.contextmanager
def _only(path: list[str]) -> Iterator[None]:
    """Look for modules in these places only; what the imports add stays."""
    kept = list(sys.path)
    sys.path[:] = path
    try:
        yield
    finally:
        sys.path[:] = [*kept, *(entry for entry in sys.path if entry not in path)]


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Set variables that are not set."""
    added = {name: value for name, value in values.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _noted(generators: list[random.Random]) -> Iterator[None]:
    """Note generators of random numbers that modules make without a seed: every worker seeds them anew."""
    seed = random.Random.seed

    def noting(self: random.Random, a: Any = None, version: int = 2) -> None:
        if a is None and all(self is not known for known in generators):
            generators.append(self)
        seed(self, a, version)

    random.Random.seed = noting  # type: ignore[assignment,method-assign]
    try:
        yield
    finally:
        random.Random.seed = seed  # type: ignore[method-assign]


def seeding(seed: Callable[[], Any]) -> Callable[[], Any]:
    """What each forked worker calls: `seed`, and the seeding of what this branch's modules have made without a seed."""
    generators = _grown.generators if _grown is not None else []
    if not generators:
        return seed

    def seed_all() -> None:
        seed()
        for generator in generators:
            generator.seed()

    return seed_all


# ---- what a fork would share -------------------------------------------------------------------------------


def _open_files() -> set[str]:
    """What this process has open that is no file: sockets, pipes, devices, the kernel's own."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor is gone
            found.add(os.readlink(f"/proc/self/fd/{entry}"))
    return {name for name in found if not name.startswith("/") or name.startswith("/dev/nvidia")}


def _require_alone(files: set[str]) -> None:
    threads = os.listdir("/proc/self/task")
    if len(threads) > 1:
        names = []
        for thread in threads:
            with (
                contextlib.suppress(OSError),
                open(f"/proc/self/task/{thread}/comm") as file,
            ):  # it ended meanwhile
                names.append(file.read().strip())
        raise Unfit(f"they left {len(threads) - 1} threads: {', '.join(names)}")
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        children = file.read().split()
    if children:
        raise Unfit(f"they left the processes {', '.join(children)}")
    if opened := _open_files() - files:
        raise Unfit(f"they left open {', '.join(sorted(opened))}")


def _require_no_other_generators() -> None:
    """NumPy's global generator is seeded in each worker; others that modules keep would be alike in all of them."""
    numpy = sys.modules.get("numpy.random")
    if numpy is None:
        return
    known = numpy.mtrand._rand
    kinds = (numpy.RandomState, numpy.Generator)
    for found in gc.get_objects():
        if (
            issubclass(type(found), kinds) and found is not known
        ):  # isinstance() would run code of lazy modules
            raise Unfit(f"they keep a random generator of NumPy's, {found!r}")


# ---- jobs --------------------------------------------------------------------------------------------------


def check_job(path: Collection[str], variables: dict[str, str]) -> None:
    """Whether a job's workers would have imported the same.

    Args:
        path: where they look for modules.
        variables: of their environment.

    Raises:
        Unfit: they would not, or it cannot be told.
    """
    if _grown is None:
        return
    for name in {*variables, *_grown.variables} - {*_OURS}:
        if variables.get(name) != _grown.variables.get(name):
            raise Unfit(f"the job's variable {name} is another than when the modules were imported")
    for entry in path:
        if entry in _grown.installed:
            continue
        if own := _grown.packages & _names_in(entry):
            raise Unfit(f"{entry} has modules of the names {', '.join(sorted(own))}")


def _names_in(folder: str) -> set[str]:
    try:
        return {entry.partition(".")[0] for entry in os.listdir(folder)}
    except (FileNotFoundError, PermissionError):
        return set()
    except NotADirectoryError as error:
        raise Unfit(f"{folder} is an archive of modules") from error
