"""The extension's stub names what the extension has, no more and no less."""

from __future__ import annotations

import ast
from pathlib import Path

import narke
from narke import _native

STUB = Path(narke.__file__).with_name("_native.pyi")


def declared(body: list[ast.stmt]) -> set[str]:
    """Return the classes and functions that a body defines, without dunders."""
    names = {node.name for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    return {name for name in names if not name.startswith("__")}


def present(owner: object) -> set[str]:
    """Return the names an object of the extension has, without dunders."""
    return {name for name in vars(owner) if not name.startswith("__")}


def test_stub_names_the_module() -> None:
    assert declared(ast.parse(STUB.read_text()).body) == present(_native)


def test_stub_names_each_class() -> None:
    classes = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ClassDef)]
    assert classes
    for node in classes:
        assert declared(node.body) == present(getattr(_native, node.name)), node.name
