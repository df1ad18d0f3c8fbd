"""What the tests of training share."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

import narke


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Runs code in a fresh interpreter; gives what it printed."""

    def run(code: str) -> str:
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A cluster of 8 logical CPUs for the tests of a module."""
    narke.init(num_cpus=8, include_dashboard=False, log_to_driver=False)
    yield
    narke.shutdown()
