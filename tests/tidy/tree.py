"""The files of the source tree and how to read them, for the tidy rules."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIDY = Path(__file__).resolve().parent
CPP = (".cc", ".h")
TEXT = (*CPP, ".cmake", ".fbs", ".json", ".md", ".py", ".sh", ".toml", ".ts", ".tsx", ".txt", ".yaml", ".yml")
TEXT_NAMES = ("CMakeLists.txt", "dev", "run")

# A line that opens a body: a parameter list or the last member initializer stands before the brace.
FUNCTION_HEAD = re.compile(r"[)}][^;=]*\{$")
NOT_A_FUNCTION = re.compile(r"^\s*(namespace|class|struct|enum|union|switch|if|for|while|do|else|try)\b")
LITERAL_OR_COMMENT = re.compile(r"'(\\.|[^'\\])'|\"(\\.|[^\"\\])*\"|//.*")


@functools.cache
def files() -> tuple[Path, ...]:
    """Return the files that git tracks or would track, relative to the root."""
    listing = ["git", "ls-files", "-co", "--exclude-standard", "--deduplicate"]
    output = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return tuple(Path(line) for line in output.splitlines() if (ROOT / line).is_file())


def text_files() -> list[Path]:
    """Return the sources, documents and settings, without data."""
    return [path for path in files() if path.suffix in TEXT or path.name in TEXT_NAMES]


def code_files() -> list[Path]:
    """Return the C++ and Python sources."""
    return [path for path in files() if path.suffix in (*CPP, ".py")]


@functools.cache
def lines(path: Path) -> tuple[str, ...]:
    """Return the lines of a file given relative to the root."""
    return tuple((ROOT / path).read_text(encoding="utf-8").splitlines())


@dataclass(frozen=True)
class Function:
    """A function's place and length; ``line`` counts from 1."""

    path: Path
    line: int
    length: int

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.length} lines"


def functions(path: Path) -> list[Function]:
    """Return the functions of a C++ or Python file."""
    return cpp_functions(path) if path.suffix in CPP else python_functions(path)


def python_functions(path: Path) -> list[Function]:
    """Return the functions of a Python file, measured without their docstrings."""
    found = []
    for node in ast.walk(ast.parse("\n".join(lines(path)))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = node.end_lineno - node.lineno + 1 - docstring_lines(node)
            found.append(Function(path, node.lineno, length))
    return found


def docstring_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many lines the function's docstring takes."""
    first = node.body[0]
    is_docstring = ast.get_docstring(node, clean=False) is not None
    return first.end_lineno - first.lineno + 1 if is_docstring else 0


def cpp_functions(path: Path) -> list[Function]:
    """Return the functions of a clang-formatted C++ file.

    In that format a body opens at the end of a line and closes with ``}`` at the indentation of the line that
    began the declaration, and only classes and namespaces stand around functions. So it is enough to look at
    lines outside of bodies.
    """
    found = []
    content = lines(path)
    at = 0
    while at < len(content):
        line = content[at]
        if FUNCTION_HEAD.search(line) and not NOT_A_FUNCTION.match(line):
            end = body_end(content, at)
            start = declaration_start(content, at)
            found.append(Function(path, start + 1, end - start + 1))
            at = end
        at += 1
    return found


def body_end(content: tuple[str, ...], opening: int) -> int:
    """Return the line that closes the body opened on line ``opening``."""
    depth = 0
    for at in range(opening, len(content)):
        bare = LITERAL_OR_COMMENT.sub("", content[at])
        depth += bare.count("{") - bare.count("}")
        if depth <= 0:
            return at
    return len(content) - 1


def declaration_start(content: tuple[str, ...], opening: int) -> int:
    """Return the first line of the declaration whose body opens on line ``opening``."""
    at = opening
    while at > 0 and content[at - 1].strip() and not re.search(r"([;{}:>]|\*/)$|^\s*(//|#)", content[at - 1]):
        at -= 1
    return at
