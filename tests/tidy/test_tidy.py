"""The style rules that a program can check; see README.md in this folder."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sys
from collections.abc import Iterable
from pathlib import Path

TIDY = Path(__file__).resolve().parent
sys.path.insert(0, str(TIDY))

import modules  # noqa: E402
import tree  # noqa: E402

MAX_FILE_LINES = 1000
MAX_FUNCTION_LINES = 70
PACKAGE = tree.ROOT / "python" / "narke"

# Each word is spelt so that this file does not offend against itself.
UNFINISHED = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X])\b")
MACHINE_PATH = re.compile(r"(?<![\w.])/(work/|root/|Users/|home/(?!ubuntu|ray|user))")


def expect_none(offences: Iterable[object]) -> None:
    """Fail with one line for each offence."""
    listed = [str(offence) for offence in offences]
    assert not listed, f"{len(listed)} offences:\n" + "\n".join(listed)


def matches(pattern: re.Pattern[str]) -> list[str]:
    """Return the places in text files where the pattern occurs."""
    return [
        f"{path}:{number}: {line.strip()[:100]}"
        for path in tree.text_files()
        for number, line in enumerate(tree.lines(path), 1)
        if pattern.search(line)
    ]


def test_files_are_short() -> None:
    lengths = {path: len(tree.lines(path)) for path in tree.code_files()}
    expect_none(f"{path}: {length} lines" for path, length in lengths.items() if length > MAX_FILE_LINES)


def test_functions_are_short() -> None:
    found = [function for path in tree.code_files() for function in tree.functions(path)]
    assert found
    expect_none(function for function in found if function.length > MAX_FUNCTION_LINES)


def test_nothing_is_unfinished() -> None:
    expect_none(matches(UNFINISHED))


def test_no_paths_of_one_machine() -> None:
    expect_none(matches(MACHINE_PATH))


def test_includes_name_files() -> None:
    found = [
        include for path in tree.files() if path.suffix in tree.CPP for include in modules.includes(path)
    ]
    expect_none(include for include in found if not modules.exists(include))


def test_includes_stay_within_declared_dependencies() -> None:
    declared = modules.declared_dependencies()
    offences = []
    for path in tree.files():
        if path.parts[0] == "src" and path.suffix in tree.CPP:
            allowed = {path.parts[1], modules.SCHEMA} | declared.get(path.parts[1], set())
            offences += [include for include in modules.includes(path) if include.module not in allowed]
    expect_none(offences)


def test_sources_include_their_own_header_first() -> None:
    """Compiling the source then proves that the header stands alone; the build checks headers without one."""
    sources = [path for path in tree.files() if path.parts[0] == "src" and path.suffix == ".cc"]
    paired = [path for path in sources if (tree.ROOT / path.with_suffix(".h")).exists()]
    assert paired
    expect_none(
        path
        for path in paired
        if modules.first_include(path) != f'"{path.relative_to("src").with_suffix(".h")}"'
    )


def test_dependencies_have_no_cycle() -> None:
    remaining = modules.declared_dependencies()
    while remaining:
        lowest = [name for name, needs in remaining.items() if not needs & remaining.keys()]
        assert lowest, f"these modules depend on each other in a circle: {sorted(remaining)}"
        for name in lowest:
            del remaining[name]


def test_modules_explain_themselves() -> None:
    folders = modules.module_folders()
    expect_none(
        f"{folder}/README.md is missing"
        for folder in folders
        if not (tree.ROOT / folder / "README.md").exists()
    )


def public_modules() -> list[str]:
    """Return the importable public modules of the package."""
    walk = pkgutil.walk_packages([str(PACKAGE)], "narke.", onerror=lambda name: None)
    return [
        "narke",
        *(module.name for module in walk if not any(p.startswith("_") for p in module.name.split("."))),
    ]


def declares_all(name: str) -> bool:
    """Tell from the source whether a module assigns ``__all__``."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    if not source.exists():
        return False
    nodes = ast.walk(ast.parse(source.read_text(encoding="utf-8")))
    return any(isinstance(node, ast.Name) and node.id == "__all__" for node in nodes)


def is_foreign(error: BaseException | None) -> bool:
    """Tell whether an import failed for want of an optional dependency, and not of one of our modules."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        return error.name.split(".")[0] != "narke"
    return error is not None and is_foreign(error.__cause__ or error.__context__)


def broken_names(name: str) -> list[str]:
    """Return the entries of a module's ``__all__`` that cannot be had, with the reason."""
    broken = []
    try:
        module = importlib.import_module(name)
        for entry in module.__all__:
            if not hasattr(module, entry):
                broken.append(f"{name}.{entry} does not exist")
    except (ImportError, RuntimeError) as error:
        if not is_foreign(error):
            broken.append(f"{name}: {error}")
    return broken


def test_all_names_exist() -> None:
    expect_none(offence for name in filter(declares_all, public_modules()) for offence in broken_names(name))
