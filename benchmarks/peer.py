"""The interpreter of the peer that Narke is compared with: the real Ray, in a virtual environment of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["INTERPRETER_VARIABLE", "VERSION", "interpreter"]

VERSION = "2.60.0"
INTERPRETER_VARIABLE = "NARKE_PEER_PYTHON"
FOLDER = Path(__file__).resolve().parents[1] / ".venv-ray"


def interpreter() -> str:
    """Return a Python that has the peer: the one NARKE_PEER_PYTHON names, or that of .venv-ray, made if absent.

    Ends the program with an error when the named one lacks the version compared with, or the install fails.
    """
    named = os.environ.get(INTERPRETER_VARIABLE)
    python = named or str(FOLDER / "bin" / "python")
    if not named and not _has_peer(python):
        _install(python)
    if not _has_peer(python):
        sys.exit(
            f"{python} has no Ray {VERSION}; unset {INTERPRETER_VARIABLE} to have {FOLDER.name} made, or name "
            f'an interpreter with "ray[default]=={VERSION}" and numpy'
        )
    return python


def _has_peer(python: str) -> bool:
    code = "import importlib.metadata as m; import numpy; print(m.version('ray'))"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
    except OSError:
        return False
    return done.stdout.strip() == VERSION


def _install(python: str) -> None:
    print(f"making {FOLDER.name} with Ray {VERSION}, once", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", FOLDER], check=True)
    (FOLDER / ".gitignore").write_text("*\n")
    packages = [f"ray[default]=={VERSION}", "numpy"]
    done = subprocess.run([python, "-m", "pip", "install", "--quiet", *packages])
    if done.returncode != 0:
        sys.exit(
            f"pip could not install {packages[0]} into {FOLDER} (status {done.returncode}); see its output above"
        )
