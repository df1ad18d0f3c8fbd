"""Clusters for environments: in folders of their own, so that nothing is found in a cache of before."""

from __future__ import annotations

import os
import pathlib
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [str(ROOT / "python"), str(ROOT / "tests" / "envs"), str(ROOT / "tests" / "conformance")]
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]
os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
for name in ("RAY_ADDRESS", "NARKE_ADDRESS"):
    os.environ.pop(name, None)


@pytest.fixture(scope="module")
def folder():
    """Where the module's cluster keeps its session; its path is short, because sockets lie in it."""
    before = os.environ.get("RAY_TMPDIR")
    with tempfile.TemporaryDirectory(prefix="ne") as path:
        os.environ["RAY_TMPDIR"] = path
        yield pathlib.Path(path, "narke")
        os.environ.pop("RAY_TMPDIR") if before is None else os.environ.update(RAY_TMPDIR=before)


@pytest.fixture(scope="module")
def ray(folder):
    """The package, connected to a cluster of 2 CPUs."""
    import narke

    narke.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield narke
    narke.shutdown(wait_for_processes=True)


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with wheels: nk_one 1.0 and 2.0, and nk_two, which needs nk_one."""
    import wheels

    path = tmp_path_factory.mktemp("wheels")
    wheels.build(path, "nk_one", "1.0", "version = 1\n")
    wheels.build(path, "nk_one", "2.0", "version = 2\n")
    wheels.build(path, "nk_two", "1.0", "import nk_one\nvalue = nk_one.version * 10\n", ("nk-one",))
    return path
