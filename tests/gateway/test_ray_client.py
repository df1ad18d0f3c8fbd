"""Ray's own, unmodified client and command line. NARKE_TEST_RAY_PYTHON names an interpreter that has Ray."""

import json
import os
import subprocess

import pytest

RAY_PYTHON = os.environ.get("NARKE_TEST_RAY_PYTHON", "")
pytestmark = pytest.mark.skipif(not RAY_PYTHON, reason="NARKE_TEST_RAY_PYTHON is not set")

PROGRAM = """
import asyncio, json, os, sys, time
from ray.job_submission import JobSubmissionClient, JobStatus
client = JobSubmissionClient(sys.argv[1])
out = {"version": client.get_version()}
job = client.submit_job(entrypoint="cat data.txt; echo $FLAG", runtime_env={"working_dir": sys.argv[2],
                        "env_vars": {"FLAG": "on"}}, metadata={"a": "b"}, entrypoint_num_cpus=1)
def end(job):
    while not client.get_job_status(job).is_terminal():
        time.sleep(0.05)
    return client.get_job_info(job)
info = end(job)
out["info"] = [str(info.status), info.metadata, info.driver_exit_code, str(info.type)]
out["logs"] = client.get_job_logs(job)
async def tail():
    return "".join([piece async for piece in client.tail_job_logs(job)])
out["tail"] = asyncio.run(tail())
long = client.submit_job(entrypoint="sleep 1000", submission_id="long")
out["stop"] = client.stop_job(long)
out["stopped"] = str(end(long).status)
out["listed"] = {job, long} <= {each.submission_id for each in client.list_jobs()}
out["deleted"] = client.delete_job(long)
try:
    client.get_job_info("none")
except RuntimeError as error:
    out["missing"] = str(error)
print("RESULT", json.dumps(out))
"""


def ray(head, *words, **options):
    env = {
        name: value
        for name, value in os.environ.items()
        if name != "PYTHONPATH" and not name.startswith("RAY_")
    }
    env.update(
        RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=head.session + "/token", RAY_USAGE_STATS_ENABLED="0"
    )
    return subprocess.run(
        [RAY_PYTHON, *words], env=env, capture_output=True, text=True, timeout=110, **options
    )


def test_rays_client_works_unchanged(head, tmp_path):
    (tmp_path / "data.txt").write_text("brought along\n")
    done = ray(head, "-c", PROGRAM, head.url, str(tmp_path))
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    out = json.loads(done.stdout.split("RESULT ")[1])
    assert out["info"] == ["SUCCEEDED", {"a": "b"}, 0, "JobType.SUBMISSION"]
    assert out["logs"] == out["tail"] == "brought along\non\n"
    assert out["stop"] and out["stopped"] == "STOPPED" and out["listed"] and out["deleted"]
    assert "does not exist" in out["missing"]


def test_rays_command_line_works_unchanged(head):
    script = os.path.join(os.path.dirname(RAY_PYTHON), "ray")
    done = ray(head, script, "job", "submit", "--address", head.url, "--", "echo", "from ray")
    assert done.returncode == 0 and "from ray" in done.stdout and "succeeded" in done.stdout, done.stderr[
        -2000:
    ]
    listed = ray(head, script, "job", "list", "--address", head.url)
    assert "raysubmit_" in listed.stdout
