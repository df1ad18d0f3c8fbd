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


@pytest.fixture(scope="session")
def head(tmp_path_factory):
    """A cluster of 2 CPUs that `narke start` made, in a folder of its own."""
    from heads import Head

    started = Head(cpus=2)
    os.environ["RAY_TMPDIR"] = started.folder
    yield started
    started.stop()
