"""The examples of many small models run as they are, with fewer groups."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# Runs an example by `narke run`'s way, with a smaller table.
PROGRAM = """
import sys
sys.path.insert(0, {examples!r})
import many_models_tasks
many_models_tasks.GROUPS = {groups}
import {name}
{name}.main()
"""


@pytest.mark.parametrize("name", ["many_models_tasks", "many_models_map_groups", "many_models_tune"])
def test_an_example_of_many_models_runs(name: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(examples=str(EXAMPLES), groups=24, name=name))
    run = [
        sys.executable,
        "-c",
        "import sys; from narke._cli import main; sys.exit(main())",
        "run",
        str(program),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(run, capture_output=True, text=True, timeout=110, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "24 " in done.stdout
