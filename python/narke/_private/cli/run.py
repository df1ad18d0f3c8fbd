"""``narke run``: a Python program in which ``import ray`` gives Narke, in this very process."""

from __future__ import annotations

import argparse
import builtins
import os
import sys
from types import ModuleType

__all__ = ["main"]

_USAGE = "narke run [-h] (PROGRAM | -m MODULE | -c CODE) [ARGUMENT ...]"


def main(argv: list[str]) -> int:
    """Run a program; returns its exit status (0), or lets its SystemExit pass."""
    kind, target, arguments = parse(argv)
    _serve_ray()
    {"program": _run_file, "module": _run_module, "code": _run_code}[kind](target, arguments)
    return 0


def parse(argv: list[str]) -> tuple[str, str, list[str]]:
    """Split the command line.

    Returns:
        (``"program"``, ``"module"`` or ``"code"``; what to run; its arguments).

    Raises:
        SystemExit: nothing to run is given, or help is asked for.
    """
    words = list(argv)
    if words and os.path.basename(words[0]) in ("python", "python3", os.path.basename(sys.executable)):
        words = words[1:]
    if words and words[0] in ("-m", "-c"):
        if len(words) < 2:
            _parser().error(f"{words[0]} needs an argument")
        return ("module" if words[0] == "-m" else "code"), words[1], words[2:]
    if not words or words[0].startswith("-"):
        _parser().parse_args(words[:1])
        _parser().error("no program is given")
    return "program", words[0], words[1:]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="narke run", usage=_USAGE, description=__doc__)
    parser.add_argument("-m", metavar="MODULE", help="run a module, as python -m does")
    parser.add_argument("-c", metavar="CODE", help="run a piece of code, as python -c does")
    return parser


def _serve_ray() -> None:
    """Make `import ray` give Narke here, and in Python programs that this one starts."""
    from narke import _alias
    from narke._private.node_process import package_root

    _alias.install()
    shim = os.path.join(package_root(), "narke", "_shim")
    known = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    fresh = [folder for folder in (shim, package_root()) if folder not in known]
    os.environ["PYTHONPATH"] = os.pathsep.join(fresh + known)


def _new_main() -> ModuleType:
    """An empty ``__main__`` in place of this command's own."""
    module = ModuleType("__main__")
    module.__builtins__ = builtins  # type: ignore[attr-defined]
    sys.modules["__main__"] = module
    return module


def _run_file(path: str, arguments: list[str]) -> None:
    import runpy

    if not os.path.exists(path):
        sys.exit(f"narke run: {path}: no such file")
    sys.argv[:] = [path, *arguments]
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):
        _new_main()
        runpy.run_path(path, run_name="__main__")
        return
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    module = _new_main()
    module.__file__ = path
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec", dont_inherit=True)
    exec(code, module.__dict__)


def _run_module(name: str, arguments: list[str]) -> None:
    import runpy

    sys.argv[:] = [name, *arguments]
    sys.path[0] = os.getcwd()
    _new_main()
    runpy._run_module_as_main(name)  # type: ignore[attr-defined]  # what python -m does


def _run_code(text: str, arguments: list[str]) -> None:
    sys.argv[:] = ["-c", *arguments]
    sys.path[0] = ""
    module = _new_main()
    exec(compile(text, "<string>", "exec", dont_inherit=True), module.__dict__)
