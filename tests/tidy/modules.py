"""The C++ modules: their declared dependencies and the includes that use them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tree import CPP, ROOT, files, lines

DECLARATION = re.compile(r"narke_module\((\w+)([^)]*)\)", re.S)
INCLUDE = re.compile(r'^\s*#include "([^"]+)"')
SCHEMA = "schema"


@dataclass(frozen=True)
class Include:
    """One ``#include "..."`` line; ``line`` counts from 1."""

    path: Path
    line: int
    target: str

    @property
    def module(self) -> str:
        """The folder under src/ (or schema) that the include names."""
        return self.target.split("/")[0]

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: #include "{self.target}"'


def declared_dependencies() -> dict[str, set[str]]:
    """Return for each module the modules that its CMakeLists.txt names under DEPS."""
    declared = {}
    for path in files():
        if path.name == "CMakeLists.txt" and path.parts[0] == "src" and len(path.parts) == 3:
            for name, arguments in DECLARATION.findall("\n".join(lines(path))):
                words = arguments.split()
                after = words[words.index("DEPS") + 1 :] if "DEPS" in words else []
                declared[name] = set(after[: after.index("LIBS")] if "LIBS" in after else after)
    return declared


def module_folders() -> list[Path]:
    """Return the folders of src/ that hold sources."""
    return sorted(
        {Path(*path.parts[:2]) for path in files() if path.parts[0] == "src" and path.suffix in CPP}
    )


def includes(path: Path) -> list[Include]:
    """Return the quoted includes of a file."""
    found = [(number, INCLUDE.match(line)) for number, line in enumerate(lines(path), 1)]
    return [Include(path, number, match[1]) for number, match in found if match]


def first_include(path: Path) -> str:
    """Return what the first include of a file names, with its quotes or brackets; empty when it has none."""
    return next(
        (line.split(maxsplit=1)[1].strip() for line in lines(path) if line.startswith("#include ")), ""
    )


def exists(include: Include) -> bool:
    """Tell whether the include is rooted at src/, bindings/ or the schemas, and names a file."""
    if include.module == SCHEMA:
        return (ROOT / include.target.replace("_generated.h", ".fbs")).is_file()
    return any((ROOT / root / include.target).is_file() for root in ("src", "", "include"))
