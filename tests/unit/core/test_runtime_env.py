"""Runtime environments: checked, merged, and entered."""

import json
import os
import sys

import pytest

from narke._private import runtime_envs
from narke.exceptions import RuntimeEnvSetupError
from narke.runtime_env import RuntimeEnv, RuntimeEnvConfig


@pytest.mark.parametrize(
    "fields, error, text",
    [
        ({"env_vars": {"A": 1}}, TypeError, "env_vars"),
        ({"env_vars": [1]}, TypeError, "env_vars"),
        ({"working_dir": 3}, TypeError, "working_dir"),
        ({"working_dir": "/nonexistent"}, ValueError, "/nonexistent"),
        ({"working_dir": "s3://bucket/dir"}, ValueError, "s3://bucket/dir"),
        ({"py_modules": 3}, TypeError, "py_modules"),
        ({"py_modules": [3]}, TypeError, "py_modules"),
        ({"pip": ["a"], "conda": "b"}, ValueError, "pip.*conda"),
        ({"excludes": 3}, TypeError, "excludes"),
        ({"worker_process_setup_hook": 3}, TypeError, "worker_process_setup_hook"),
        ({"image_uri": "x", "pip": ["a"]}, ValueError, "image_uri"),
        ({"config": {"setup_timeout_seconds": 0}}, ValueError, "setup_timeout_seconds"),
        ({"config": {"eager_install": 1}}, TypeError, "eager_install"),
    ],
    ids=str,
)
def test_malformed_field_is_refused_by_name(fields, error, text):
    with pytest.raises(error, match=text):
        RuntimeEnv(**fields)


class TestRuntimeEnv:
    def test_is_a_dict(self):
        env = RuntimeEnv(env_vars={"A": "1"}, pip=["x"])
        assert env == {"env_vars": {"A": "1"}, "pip": {"packages": ["x"], "pip_check": False}}

    def test_serializes(self):
        env = RuntimeEnv(env_vars={"A": "1"}, excludes=["*.log"])
        assert RuntimeEnv.deserialize(env.serialize()) == env
        assert json.loads(env.serialize()) == env

    def test_setting_checks(self):
        env = RuntimeEnv()
        with pytest.raises(TypeError):
            env["env_vars"] = {"A": 2}
        env.set("env_vars", {"A": "2"})
        assert env.env_vars() == {"A": "2"}

    def test_plugins(self):
        assert RuntimeEnv(mine={"x": 1}, env_vars={}).plugins() == [("mine", {"x": 1})]

    def test_equal_packages_have_equal_names(self):
        assert (
            RuntimeEnv(pip=["a"]).pip_uri()
            == RuntimeEnv(pip=["a"]).pip_uri()
            != RuntimeEnv(pip=["b"]).pip_uri()
        )

    def test_config(self):
        env = RuntimeEnv(config={"setup_timeout_seconds": 3, "unknown": 1})
        assert env["config"] == {"setup_timeout_seconds": 3, "eager_install": True, "log_files": []}
        assert RuntimeEnvConfig() == {"setup_timeout_seconds": 600, "eager_install": True, "log_files": []}


def test_merge_unites_variables_and_replaces_the_rest():
    parent = {"env_vars": {"A": "1", "B": "1"}, "working_dir": "/a"}
    child = {"env_vars": {"B": "2"}, "working_dir": "/b"}
    assert runtime_envs.merge(parent, child) == {"env_vars": {"A": "1", "B": "2"}, "working_dir": "/b"}


def test_another_installer_replaces_the_parents():
    assert runtime_envs.merge({"pip": ["a"], "env_vars": {}}, {"uv": ["b"]}) == {"uv": ["b"], "env_vars": {}}


def test_only_what_must_be_made_is_marked():
    assert runtime_envs.text_of({}) == ""
    assert runtime_envs.text_of({"env_vars": {"_setup": "1"}}) == '{"env_vars": {"_setup": "1"}}'
    assert runtime_envs.text_of({"pip": ["a"]}) == '{"_setup": true, "pip": ["a"]}'
    assert runtime_envs.needs_setup({"a_plugins_field": 1})


@pytest.mark.parametrize("field, value", [("container", {"image": "x"}), ("image_uri", "image")])
def test_what_cannot_be_set_up_is_refused_early(field, value):
    with pytest.raises(RuntimeEnvSetupError, match=field):
        runtime_envs.normalize({field: value})


def test_normal_form_travels_as_json(tmp_path):
    env = runtime_envs.normalize({"working_dir": str(tmp_path), "worker_process_setup_hook": lambda: None})
    assert json.loads(json.dumps(env)) == env


class TestEnter:
    @pytest.fixture(autouse=True)
    def same_process_afterwards(self, monkeypatch):
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setattr(os, "environ", os.environ.copy())

    def test_variables_may_refer_to_others(self, monkeypatch):
        os.environ["HERE"] = "x"
        runtime_envs.enter({"env_vars": {"THERE": "${HERE}/y", "PLAIN": "z"}}, {})
        assert os.environ["PLAIN"] == "z"

    def test_modules_are_imported_from_the_working_dir(self, tmp_path):
        runtime_envs.enter({}, {"cwd": str(tmp_path), "sys_path": [str(tmp_path)]})
        assert sys.path[0] == str(tmp_path)

    def test_a_working_dir_that_is_gone_is_named(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            runtime_envs.enter({}, {"cwd": str(tmp_path / "nowhere")})

    def test_installed_packages_come_after_the_drivers_folders_and_before_the_interpreters(self):
        sys.path[:] = ["/driver", "/lib/site-packages"]
        runtime_envs.enter({}, {"sys_path": ["/dir"], "site": ["/env"]})
        assert sys.path == ["/dir", "/driver", "/env", "/lib/site-packages"]


def test_a_hook_that_was_given_as_a_function_runs(tmp_path):
    target = str(tmp_path / "ran")
    env = runtime_envs.normalize({"worker_process_setup_hook": lambda: open(target, "w").close()})
    runtime_envs.run_hook(env["worker_process_setup_hook"])
    assert os.path.exists(target)
