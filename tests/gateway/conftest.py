import os
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDERS = [str(ROOT / "python"), str(ROOT / "tests" / "gateway"), str(ROOT / "tests" / "conformance")]
sys.path[:0] = [folder for folder in FOLDERS if folder not in sys.path]
os.environ["PYTHONPATH"] = os.pathsep.join([*FOLDERS, os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
for name in (
    "RAY_ADDRESS",
    "NARKE_ADDRESS",
    "RAY_API_SERVER_ADDRESS",
    "RAY_AUTH_TOKEN",
    "RAY_AUTH_TOKEN_PATH",
):
    os.environ.pop(name, None)


@pytest.fixture(scope="module")
def head():
    """A cluster of 2 CPUs that `narke start` made, in a folder of its own."""
    from heads import Head

    started = Head(cpus=2)
    before = os.environ.get("RAY_TMPDIR")
    os.environ["RAY_TMPDIR"] = started.folder
    yield started
    os.environ.pop("RAY_TMPDIR") if before is None else os.environ.update(RAY_TMPDIR=before)
    started.stop()
