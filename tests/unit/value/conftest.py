"""The value codec as a module of its own (tests/unit/native/value_test_module.cc)."""

import importlib
import os
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "build" / "test-modules"


@pytest.fixture(scope="session")
def codec():
    """The built module narke_value_test."""
    name = f"narke_value_test{sysconfig.get_config_var('EXT_SUFFIX')}"
    if not (MODULES / name).exists():
        pytest.fail(
            f"{MODULES / name} is not there: build it first with ./dev build release narke_value_test"
        )
    if str(MODULES) not in sys.path:
        sys.path.append(str(MODULES))
    return importlib.import_module("narke_value_test")


@pytest.fixture(scope="session")
def child_environment(codec):
    """Environment of a child process that can import the codec and narke."""
    paths = [str(MODULES), str(ROOT / "python"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OPENBLAS_NUM_THREADS": "1"}
