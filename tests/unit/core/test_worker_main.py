"""What the zygote makes of itself for a job is what that job's workers have, and nothing of it stays for the next."""

import os
import sys

import pytest

from narke._private import session, worker_main


@pytest.fixture(autouse=True)
def same_process_afterwards(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(session, "_session", None)
    worker_main._origin.cache_clear()
    yield
    worker_main._origin.cache_clear()


@pytest.fixture
def config(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    return {
        "node_socket": "socket",
        "session_dir": str(tmp_path),
        "token_path": str(tmp_path / "token"),
        "cwd": "/driver",
        "sys_path": ["/driver", *sys.path],
        "env": {},
        "runtime_env": "",
    }


def test_a_job_has_its_drivers_modules_namespace_and_cluster(config):
    prepared = worker_main.prepare(config, {"namespace": "here", "address_info": {"address": "/socket"}})
    assert sys.path[0] == "/driver" and os.environ["RAY_ADDRESS"] == "/socket"
    assert session.current() is prepared["session"] and prepared["session"].namespace == "here"
    assert (prepared["token"], prepared["cwd"]) == (b"secret", "/driver")


def test_an_environment_goes_over_its_jobs(config, tmp_path):
    env = '{"_setup": true, "working_dir": "gcs://x.zip", "env_vars": {"B": "own"}}'
    made = f'{{"cwd": "{tmp_path}", "sys_path": ["{tmp_path}"]}}'
    job = {"runtime_env": {"env_vars": {"A": "job", "B": "job"}}}
    prepared = worker_main.prepare(
        {**config, "runtime_env": env, "environment": made, "env": {"A": "job", "B": "job"}}, job
    )
    assert (os.environ["A"], os.environ["B"]) == ("job", "own")
    assert prepared["cwd"] == sys.path[0] == str(tmp_path)


def test_nothing_of_one_job_is_left_for_the_next(config):
    os.environ["KEPT"] = "1"
    before = dict(os.environ), list(sys.path)
    worker_main.prepare({**config, "sys_path": ["/other"], "env": {"KEPT": "2", "ONLY_HERE": "3"}}, {})
    worker_main.prepare({**config, "sys_path": []}, {})
    assert (dict(os.environ), sys.path) == before


def test_users_code_is_left_to_the_worker(config, tmp_path):
    env = {"worker_process_setup_hook": "os.getpid"}
    assert worker_main.prepare(config, {})["set_up"] is None
    assert worker_main.prepare(config, {"runtime_env": env})["set_up"] is not None
