"""Submitted jobs, by Narke's own client and over plain HTTP."""

import asyncio
import os
import pathlib
import signal
import zipfile

import pytest
from heads import cli
from waiting import is_running, wait_for

from narke.job_submission import JobStatus, JobSubmissionClient, JobType


@pytest.fixture(scope="module")
def client(head):
    return JobSubmissionClient(head.url)


def finish(client, job):
    wait_for(lambda: client.get_job_status(job).is_terminal(), what=f"the end of {job}", timeout_s=60)
    return client.get_job_info(job)


def test_a_job_runs_and_says_how_it_ended(client):
    job = client.submit_job(entrypoint="echo hello; echo oops >&2", metadata={"team": "blue"})
    info = finish(client, job)
    assert (info.status, info.type, info.submission_id) == (JobStatus.SUCCEEDED, JobType.SUBMISSION, job)
    assert info.driver_exit_code == 0 and info.metadata == {"team": "blue"}
    assert info.start_time <= info.end_time and info.message == "Job finished successfully."
    assert sorted(client.get_job_logs(job).split()) == ["hello", "oops"]


def test_a_failing_job_tells_its_last_words(client):
    info = finish(client, client.submit_job(entrypoint="echo the reason; exit 3"))
    assert (info.status, info.driver_exit_code) == (JobStatus.FAILED, 3)
    assert info.error_type == "JOB_ENTRYPOINT_COMMAND_ERROR"
    assert "exit code 3" in info.message and "the reason" in info.message


def test_bytes_that_are_no_text_do_no_harm(client):
    job = client.submit_job(entrypoint="printf 'a\\377b'; exit 1")
    assert "a\ufffdb" in finish(client, job).message
    assert client.get_job_logs(job) == "a\ufffdb"


def test_stop_ends_everything_the_job_started(client, tmp_path):
    pids = tmp_path / "pids"
    script = f"setsid sleep 1000 & echo $! >> {pids}; sleep 1000 & echo $! >> {pids}; echo $$ >> {pids}; wait"
    job = client.submit_job(entrypoint=script)
    wait_for(lambda: pids.exists() and len(pids.read_text().split()) == 3, what="the job's processes")
    assert client.get_job_status(job) == JobStatus.RUNNING
    assert client.stop_job(job) is True
    info = finish(client, job)
    assert (info.status, info.message) == (JobStatus.STOPPED, "Job was intentionally stopped.")
    wait_for(
        lambda: not any(is_running(int(pid)) for pid in pids.read_text().split()), what="the end of them all"
    )
    assert client.stop_job(job) is False


def test_stop_kills_what_does_not_listen(client):
    job = client.submit_job(entrypoint="trap '' TERM; echo ready; while true; do sleep 0.1; done")
    wait_for(lambda: "ready" in client.get_job_logs(job), what="the trap")
    client.stop_job(job)
    assert finish(client, job).status == JobStatus.STOPPED


def test_nothing_is_left_of_a_job_that_ended(client, tmp_path):
    pids = tmp_path / "pids"
    finish(
        client, client.submit_job(entrypoint=f"setsid nohup sleep 1000 >/dev/null 2>&1 & echo $! > {pids}")
    )
    wait_for(lambda: not is_running(int(pids.read_text())), what="the end of the orphan")


def test_the_environment_joins_the_cluster(client, tmp_path):
    (tmp_path / "driver.py").write_text(
        "import os, sys, helper\n"
        "import ray\n"
        "ray.init()\n"
        "@ray.remote\n"
        "def value(): return os.environ['FLAG'], helper.VALUE\n"
        "print(ray.get(value.remote()), ray.get_runtime_context().get_job_id(), os.environ['EXPANDED'])\n"
    )
    (tmp_path / "helper.py").write_text("VALUE = 7\n")
    (tmp_path / "left_out.log").write_text("x")
    env = {
        "working_dir": str(tmp_path),
        "excludes": ["*.log"],
        "env_vars": {"FLAG": "on", "EXPANDED": "${HOME}/x"},
    }
    job = client.submit_job(entrypoint="ls; python driver.py", runtime_env=env)
    info = finish(client, job)
    logs = client.get_job_logs(job)
    assert info.status == JobStatus.SUCCEEDED, logs
    assert f"('on', 7) {info.job_id} {os.environ['HOME']}/x" in logs
    assert "left_out" not in logs
    assert info.driver_info is not None and info.runtime_env["working_dir"].startswith("gcs://_ray_pkg_")
    assert client.get_job_info(info.job_id).submission_id == job


def test_an_environment_that_cannot_be_made_is_the_jobs_failure(client):
    info = finish(client, client.submit_job(entrypoint="true", runtime_env={"working_dir": "gcs://none.zip"}))
    assert (info.status, info.error_type) == (JobStatus.FAILED, "RUNTIME_ENV_SETUP_FAILURE")
    assert "none.zip" in info.message and "not uploaded" in info.message


def test_packages_are_there_for_the_entry_point_and_its_tasks(client, tmp_path):
    wheel = tmp_path / "nk_job-1.0-py3-none-any.whl"
    files = {
        "nk_job.py": "value = 11\n",
        "nk_job-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: nk_job\nVersion: 1.0\n",
        "nk_job-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "nk_job-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    project = tmp_path / "project"
    project.mkdir()
    (project / "driver.py").write_text(
        "import nk_job, ray\n"
        "ray.init()\n"
        "@ray.remote\n"
        "def value():\n"
        "    import nk_job\n"
        "    return nk_job.value\n"
        "print(nk_job.value + ray.get(value.remote()))\n"
    )
    env = {
        "working_dir": str(project),
        "pip": {"packages": [str(wheel)], "pip_install_options": ["--no-index"]},
    }
    job = client.submit_job(entrypoint="python driver.py", runtime_env=env)
    info = finish(client, job)
    assert info.status == JobStatus.SUCCEEDED and "22" in client.get_job_logs(job), client.get_job_logs(job)
    missing = {"pip": {"packages": ["nk-nowhere"], "pip_install_options": ["--no-index"]}}
    info = finish(client, client.submit_job(entrypoint="true", runtime_env=missing))
    assert info.error_type == "RUNTIME_ENV_SETUP_FAILURE" and "No matching distribution" in info.message


def test_a_package_that_leads_out_of_its_folder_is_refused(client, tmp_path):
    package = tmp_path / "evil.zip"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("../../evil.txt", "x")
    info = finish(client, client.submit_job(entrypoint="true", runtime_env={"working_dir": str(package)}))
    assert info.status == JobStatus.FAILED and "leads out" in info.message


def test_links_that_lead_out_are_not_uploaded(client, tmp_path):
    (tmp_path / "secret").symlink_to("/etc/passwd")
    (tmp_path / "plain").write_text("x")
    with pytest.raises(ValueError, match="secret is a link that leads out"):
        client.submit_job(entrypoint="ls", runtime_env={"working_dir": str(tmp_path)})
    env = {"working_dir": str(tmp_path), "excludes": ["secret"]}
    job = client.submit_job(entrypoint="ls", runtime_env=env)
    finish(client, job)
    assert client.get_job_logs(job).split() == ["plain"]


def test_resources_are_reserved_while_it_runs(client, head):
    first = client.submit_job(entrypoint="sleep 1000", entrypoint_num_cpus=2)
    wait_for(lambda: client.get_job_status(first) == JobStatus.RUNNING, what="the first job")
    second = client.submit_job(entrypoint="echo mine", entrypoint_num_cpus=1)
    assert client.get_job_status(second) == JobStatus.PENDING
    assert "waiting for resources" in client.get_job_info(second).message
    client.stop_job(first)
    assert finish(client, second).status == JobStatus.SUCCEEDED
    third = client.submit_job(entrypoint="true", entrypoint_resources={"unobtainable": 1})
    assert client.stop_job(third) is True
    assert client.get_job_status(third) == JobStatus.STOPPED


def test_tail_brings_lines_as_they_come(client, tmp_path):
    gate = tmp_path / "gate"
    job = client.submit_job(entrypoint=f"echo first; while [ ! -e {gate} ]; do sleep 0.02; done; echo last")

    async def read():
        text = ""
        async for piece in client.tail_job_logs(job):
            text += piece
            if text == "first\n":
                gate.write_text("")
        return text

    assert asyncio.run(asyncio.wait_for(read(), 30)) == "first\nlast\n"


def test_ids_names_and_forgetting(client):
    job = client.submit_job(entrypoint="true", submission_id="my-own id")
    assert job == "my-own id"
    finish(client, job)
    with pytest.raises(RuntimeError, match="already exists"):
        client.submit_job(entrypoint="true", submission_id=job)
    assert client.delete_job(job) is True
    for ask in (client.get_job_info, client.delete_job, client.stop_job, client.get_job_logs):
        with pytest.raises(RuntimeError, match="404.*does not exist"):
            ask(job)


def test_a_running_job_is_not_forgotten(client):
    job = client.submit_job(entrypoint="sleep 1000")
    with pytest.raises(RuntimeError, match="non-terminal"):
        client.delete_job(job)
    client.stop_job(job)


def test_a_job_that_is_stopped_at_once_was_stopped(client):
    jobs = []
    for _ in range(20):
        jobs.append(client.submit_job(entrypoint="sleep 1000"))
        client.stop_job(jobs[-1])
    assert {finish(client, job).status for job in jobs} == {JobStatus.STOPPED}


def test_a_supervisor_that_is_killed_takes_its_job_along(client, tmp_path):
    pid_file = tmp_path / "pid"
    job = client.submit_job(entrypoint=f"echo $$ > {pid_file}; sleep 1000")
    wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), what="the job")
    entry = int(pid_file.read_text())
    supervisor = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(supervisor, signal.SIGKILL)
    info = finish(client, job)
    assert (info.status, info.error_type) == (JobStatus.FAILED, "JOB_SUPERVISOR_ACTOR_DIED")
    wait_for(lambda: not is_running(entry), what="the end of the job's process")


def test_jobs_outlive_the_gateway(client, head, tmp_path):
    gate = tmp_path / "gate"
    job = client.submit_job(entrypoint=f"while [ ! -e {gate} ]; do sleep 0.02; done; echo done")
    wait_for(lambda: client.get_job_status(job) == JobStatus.RUNNING, what="the job")
    gateway = head.gateway_pid()
    os.kill(gateway, signal.SIGKILL)
    wait_for(lambda: head.gateway_pid() not in (gateway, None), what="another gateway")
    assert client.get_job_status(job) == JobStatus.RUNNING
    gate.write_text("")
    assert finish(client, job).status == JobStatus.SUCCEEDED


def test_drivers_are_jobs_too(client, head, tmp_path):
    source = "import narke; narke.init(); print(narke.get_runtime_context().get_job_id()); input()"
    script = tmp_path / "driver.py"
    script.write_text(source)
    import subprocess
    import sys

    driver = subprocess.Popen(
        [sys.executable, str(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "NARKE_ADDRESS": head.session},
    )
    job = driver.stdout.readline().strip()
    info = client.get_job_info(job)
    assert (info.type, info.status, info.submission_id) == (JobType.DRIVER, JobStatus.RUNNING, None)
    assert int(info.driver_info.pid) == driver.pid
    with pytest.raises(RuntimeError, match="400: Can only stop submission type jobs"):
        client.stop_job(job)
    driver.communicate("\n", timeout=30)


def test_command_line(client, head, tmp_path):
    env = {"RAY_ADDRESS": head.url}
    done = cli("job", "submit", "--submission-id", "cli1", "--", "bash", "-c", "echo 'a  b'", env=env)
    assert done.returncode == 0, done.stderr
    assert "Job 'cli1' submitted successfully" in done.stdout and "a  b" in done.stdout
    assert "Job 'cli1' succeeded" in done.stdout
    assert cli("job", "submit", "--address", head.url, "--", "false").returncode == 1
    assert "succeeded" in cli("job", "status", "cli1", env=env).stdout
    assert cli("job", "logs", "cli1", env=env).stdout == "a  b\n"
    assert "cli1" in cli("job", "list", env=env).stdout
    waiting = cli("job", "submit", "--no-wait", "--submission-id", "cli2", "--", "sleep", "1000", env=env)
    assert waiting.returncode == 0
    assert "was stopped" in cli("job", "stop", "cli2", env=env).stdout
    assert "deleted successfully" in cli("job", "delete", "cli2", env=env).stdout
    gone = cli("job", "status", "cli2", env=env)
    assert gone.returncode == 1 and "does not exist" in gone.stderr


def test_broken_files_are_named(head, tmp_path):
    broken = tmp_path / "env.json"
    broken.write_text("{")
    done = cli("job", "submit", "--address", head.url, "--runtime-env", str(broken), "--", "true")
    assert done.returncode == 1 and "env.json" in done.stderr and "Traceback" not in done.stderr
