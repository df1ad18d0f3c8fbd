"""The frames of every version of CPython that is on this machine, read by the sampler and told by the interpreter."""

import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[3]
HERE = pathlib.Path(__file__).parent
COMPILER = shutil.which("clang++-19") or shutil.which("clang++")
ABOUT = (
    "import json, os, sys, sysconfig; print(json.dumps([list(sys.version_info[:2]), "
    "sysconfig.get_paths()['include'], sysconfig.get_config_var('Py_GIL_DISABLED') or 0]))"
)


def interpreters():
    """Paths by version, of those whose headers are here."""
    folders = [
        *map(pathlib.Path, os.get_exec_path()),
        *pathlib.Path.home().glob(".pyenv/versions/*/bin"),
        *pathlib.Path.home().glob(".local/share/uv/python/*/bin"),
    ]
    candidates = [pathlib.Path(sys.executable)]
    candidates += [folder / f"python3.{minor}" for minor in range(10, 15) for folder in folders]
    found = {}
    for path in candidates:
        if not path.is_file():
            continue
        asked = subprocess.run([path, "-c", ABOUT], capture_output=True, text=True)
        if asked.returncode != 0:
            continue
        (major, minor), include, _ = json.loads(asked.stdout)
        if (pathlib.Path(include) / "Python.h").is_file():
            found.setdefault(f"{major}.{minor}", (path, include))
    return found


FOUND = interpreters()


@pytest.mark.skipif(COMPILER is None, reason="no clang++ to build the module with")
@pytest.mark.parametrize("version", FOUND)
def test_stacks_are_those_that_the_interpreter_tells_of(version, tmp_path):
    python, include = FOUND[version]
    sources = [HERE / "stack_layouts.cc", ROOT / "bindings" / "frames.cc"]
    flags = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    folders = [f"-I{ROOT}", f"-I{ROOT / 'src'}", "-isystem", include]
    module = tmp_path / "stack_layouts.so"
    subprocess.run([COMPILER, *flags, *folders, *sources, "-o", module], check=True)
    done = subprocess.run(
        [python, HERE / "stack_program.py"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    is_known = (3, 10) <= tuple(map(int, version.split("."))) <= (3, 13)
    if is_known:
        assert done.stdout.strip() == "OK", done.stderr
    else:
        assert "NotImplementedError: stacks can be read of CPython 3.10 to 3.13" in done.stderr
