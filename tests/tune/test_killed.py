"""Drivers and workers killed at random moments: no trial that had ended runs again, and every trial ends."""

from __future__ import annotations

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest
from engine import IS_RAY

if IS_RAY:
    pytest.skip("looks at Narke's journal", allow_module_level=True)

TRIALS = 14
PROGRAM = """
import os, pathlib, sys, tempfile, time
import narke
from narke import tune

folder, search = sys.argv[1:3]

def objective(config):
    with open(os.path.join(folder, "runs.txt"), "a") as file:
        file.write(f"{tune.get_context().get_trial_id()} {os.getpid()}\\n")
    checkpoint, start = tune.get_checkpoint(), 0
    if checkpoint:
        with checkpoint.as_directory() as path:
            start = int(pathlib.Path(path, "step").read_text()) + 1
    for step in range(start, 4):
        time.sleep(0.02)
        with tempfile.TemporaryDirectory() as path:
            pathlib.Path(path, "step").write_text(str(step))
            tune.report({"loss": config["x"] + step}, checkpoint=tune.Checkpoint.from_directory(path))

narke.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
path = os.path.join(folder, "exp")
if tune.Tuner.can_restore(path):
    tuner = tune.Tuner.restore(path, objective, resume_errored=True)
else:
    more = {"scheduler": tune.schedulers.ASHAScheduler(max_t=4, grace_period=2)} if search == "asha" else {}
    tuner = tune.Tuner(
        objective,
        param_space={"x": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=TRIALS, metric="loss", mode="min", **more),
        run_config=tune.RunConfig(
            name="exp",
            storage_path=folder,
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=3),
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
        ),
    )
grid = tuner.fit()
print("ended", len(grid), grid.num_errors, grid.num_terminated)
"""


def ended(folder: pathlib.Path) -> set[str]:
    """The trials that the state on disk has as ended."""
    from narke.tune.execution.journal import find_state

    state = find_state(str(folder / "exp"))
    trials = state.trials if state else ()
    return {tid for tid in trials if state.status_of(tid) == "TERMINATED"}


def runs(folder: pathlib.Path) -> dict[str, list[int]]:
    """The processes in which each trial began."""
    found: dict[str, list[int]] = {}
    path = folder / "runs.txt"
    for line in path.read_text().splitlines() if path.exists() else ():
        tid, pid = line.split()
        found.setdefault(tid, []).append(int(pid))
    return found


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def let_live(process: subprocess.Popen, folder: pathlib.Path, rng: random.Random) -> None:
    """Wait for a random time, killing workers now and then; then kill the driver."""
    end = time.monotonic() + rng.uniform(0.7, 2.0)
    while time.monotonic() < end and process.poll() is None:
        begun = [pid for pids in runs(folder).values() for pid in pids]
        if begun and rng.random() < 0.1:
            kill(begun[-1])
        time.sleep(0.1)
    kill(process.pid)


@pytest.mark.parametrize(("seed", "search"), [(1, "random"), (2, "asha"), (3, "random")])
def test_kills_at_random_moments(tmp_path: pathlib.Path, seed: int, search: str) -> None:
    rng = random.Random(seed)
    command = [sys.executable, "-c", PROGRAM.replace("TRIALS", str(TRIALS)), str(tmp_path), search]
    done: dict[str, int] = {}
    for life in range(6):
        with open(tmp_path / f"output{life}", "w") as output:
            process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
            if life < 5:
                let_live(process, tmp_path, rng)
            status = process.wait(60)
        text = (tmp_path / f"output{life}").read_text()
        assert status in (0, -signal.SIGKILL), f"seed {seed}, life {life}: {text[-3000:]}"
        now, begun = ended(tmp_path), runs(tmp_path)
        again = {tid for tid, count in done.items() if len(begun[tid]) != count or tid not in now}
        assert not again, f"seed {seed}, life {life}: trials that had ended ran again: {again}"
        done = {tid: len(begun[tid]) for tid in now}
        if status == 0:
            break
    assert f"ended {TRIALS} 0 {TRIALS}" in text, f"seed {seed}: {text[-3000:]}"


def test_a_full_disk_ends_the_experiment_with_an_error_and_can_be_gone_on_with(
    tmp_path: pathlib.Path,
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here")
    ballast = disk / "ballast"
    try:
        ballast.write_bytes(b"x" * 1_990_000)
        command = [sys.executable, "-c", PROGRAM.replace("TRIALS", "4"), str(disk), "random"]
        full = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert full.returncode != 0 or "ended 4 0 4" not in full.stdout
        assert "No space left" in full.stderr + full.stdout
        ballast.unlink()
        free = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert "ended 4 0 4" in free.stdout, free.stderr[-3000:]
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)
