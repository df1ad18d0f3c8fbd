"""Every page of the dashboard in a real Chromium. NARKE_TEST_PICTURES names a folder for pictures of them."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from heads import free_port
from test_state import busy  # noqa: F401  a fixture

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    not CHROMIUM
    or not (ROOT / "dashboard" / "node_modules").is_dir()
    or not (ROOT / "python" / "narke" / "dashboard" / "index.html").is_file(),
    reason="needs chromium, and `npm ci && npm run build` in dashboard/",
)


@pytest.fixture
def libraries(head, tmp_path):
    """A program that uses Data, Train, Tune and Serve."""
    program = subprocess.Popen(
        [
            sys.executable,
            str(pathlib.Path(__file__).with_name("libraries.py")),
            str(tmp_path),
            str(free_port()),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NARKE_ADDRESS": head.session},
    )
    assert any("READY" in line for line in program.stdout), "the program has failed"
    yield program
    program.communicate("\n", timeout=60)
    assert program.returncode == 0


@pytest.mark.timeout(240)
def test_pages_work_in_a_browser(head, busy, libraries, tmp_path):  # noqa: F811
    job = head.ask("POST", "/api/jobs/", {"entrypoint": "echo from the job"}).json()["submission_id"]
    done = subprocess.run(
        ["node", "tests/pages.mjs"],
        cwd=ROOT / "dashboard",
        env={
            **os.environ,
            "CHROMIUM": CHROMIUM,
            "URL": head.url,
            "TOKEN": head.token,
            "JOB": job,
            "PROFILE": str(tmp_path / "profile"),
            "PICTURES": os.environ.get("NARKE_TEST_PICTURES", ""),
        },
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all pages work" in done.stdout
