"""pip, uv and conda environments, really installed, from wheels of a folder."""

import os
import pathlib
import stat
import subprocess
import sys

import pytest
import wheels as wheel_files

from narke.exceptions import RuntimeEnvSetupError

GET_S = 100


def pip(wheels, *packages, **more):
    return {"pip": {"packages": list(packages), "pip_install_options": wheel_files.offline(wheels), **more}}


def look(ray, env, code):
    """What an expression is in a task with that environment."""

    @ray.remote(runtime_env=env)
    def ask(code):
        return eval(code, {"imported": __import__})

    return ray.get(ask.remote(code), timeout=GET_S)


def test_packages_of_a_list_are_there(ray, wheels):
    env = pip(wheels, "nk_two")
    assert look(ray, env, "imported('nk_two').value") == 20
    with pytest.raises(ray.exceptions.RayTaskError, match="nk_two"):
        look(ray, {}, "imported('nk_two').value")


def test_actors_have_environments_of_their_own(ray, wheels):
    @ray.remote(num_cpus=0)
    class Holder:
        def version(self):
            import nk_one

            return nk_one.version

    holders = [
        Holder.options(runtime_env=pip(wheels, f"nk_one=={number}.0")).remote() for number in (1, 2, 1)
    ]
    assert ray.get([holder.version.remote() for holder in holders], timeout=GET_S) == [1, 2, 1]


def test_requirements_come_from_a_file(ray, wheels, tmp_path):
    file = tmp_path / "requirements.txt"
    file.write_text(f"# comment\n--no-index\n--find-links {wheels}\nnk_one==1.0\n")
    assert look(ray, {"pip": str(file)}, "imported('nk_one').version") == 1


def test_programs_that_a_task_starts_have_the_packages(ray, wheels):
    code = "imported('subprocess').run([imported('sys').executable, '-c', 'import nk_one; print(nk_one.version)'], "
    env = pip(wheels, "nk_one==1.0")
    assert look(ray, env, code + "capture_output=True, text=True).stdout") == "1\n"
    code = "imported('subprocess').run(['python', '-c', 'import nk_one; print(nk_one.version)'], "
    assert look(ray, env, code + "capture_output=True, text=True).stdout") == "1\n"


def test_what_the_zygote_has_imported_can_be_replaced(ray, tmp_path):
    """cloudpickle is imported before any environment is known: such workers have an interpreter of their own."""
    import cloudpickle

    folder = pathlib.Path(cloudpickle.__file__).parent
    files = {f"cloudpickle/{file.name}": file.read_text() for file in folder.glob("*.py")}
    files["cloudpickle/__init__.py"] += "\n__version__ = '99.0'\n"
    wheel_files.build(tmp_path, "cloudpickle", "99.0", files)
    assert look(ray, pip(tmp_path, "cloudpickle==99.0"), "imported('cloudpickle').__version__") == "99.0"
    assert look(ray, {}, "imported('cloudpickle').__version__") == cloudpickle.__version__


def test_a_requirement_that_does_not_exist_is_told_in_pips_words(ray, wheels):
    with pytest.raises(RuntimeEnvSetupError, match="(?s)nk-nowhere.*No matching distribution found"):
        look(ray, pip(wheels, "nk-nowhere"), "1")

    @ray.remote(num_cpus=0, runtime_env=pip(wheels, "nk-nowhere"))
    class Never:
        def hello(self):
            return 1

    with pytest.raises(
        (RuntimeEnvSetupError, ray.exceptions.ActorDiedError), match="No matching distribution"
    ):
        ray.get(Never.remote().hello.remote(), timeout=GET_S)


def test_a_broken_requirement_is_named(ray, wheels):
    with pytest.raises(RuntimeEnvSetupError, match="nk_one===="):
        look(ray, pip(wheels, "nk_one===="), "1")


def test_secrets_of_urls_are_not_shown(ray, wheels):
    secret = "https://user:hunter2@127.0.0.1:1/simple"
    env = {"pip": {"packages": ["nk-none"], "pip_install_options": ["--retries=0", f"--index-url={secret}"]}}
    with pytest.raises(RuntimeEnvSetupError) as caught:
        look(ray, env, "1")
    assert "hunter2" not in str(caught.value)


def test_time_is_bounded(ray, tmp_path):
    slow = tmp_path / "slow"
    slow.write_text("#!/bin/sh\nexec sleep 1000\n")
    slow.chmod(0o755)
    env = {"conda": "any", "config": {"setup_timeout_seconds": 1}, "env_vars": {}}
    os.environ["CONDA_EXE"] = str(slow)
    try:
        ray.shutdown(wait_for_processes=True)
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        with pytest.raises(RuntimeEnvSetupError, match="within 1 s"):
            look(ray, env, "1")
    finally:
        del os.environ["CONDA_EXE"]
        ray.shutdown(wait_for_processes=True)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)


def test_an_environment_on_disk_is_not_installed_again(ray, wheels, folder):
    env = pip(wheels, "nk_one==2.0")
    look(ray, env, "1")
    kept = folder / "runtime_env_cache" / "pip"
    before = {path.name: path.stat().st_ino for path in kept.iterdir() if path.is_dir()}
    ray.shutdown(wait_for_processes=True)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    assert look(ray, env, "imported('nk_one').version") == 2
    assert {path.name: path.stat().st_ino for path in kept.iterdir() if path.is_dir()} == before
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in [kept])


def test_uv_installs(ray, wheels):
    pytest.importorskip("uv")
    options = ["--no-index", "--offline", f"--find-links={wheels}"]
    env = {"uv": {"packages": ["nk_one==1.0"], "uv_pip_install_options": options}}
    assert look(ray, env, "imported('nk_one').version") == 1
    with pytest.raises(RuntimeEnvSetupError, match="nk-nowhere"):
        look(ray, {"uv": {"packages": ["nk-nowhere"], "uv_pip_install_options": options}}, "1")


CONDA = """#!{python}
import json, os, subprocess, sys
words = sys.argv[1:]
if words[:3] == ["env", "list", "--json"]:
    print(json.dumps({{"envs": [os.environ["FAKE_CONDA_ENV"]]}}))
elif words[:2] == ["env", "create"]:
    prefix, spec = words[words.index("-p") + 1], json.load(open(words[words.index("-f") + 1]))
    if "nowhere" in str(spec):
        sys.exit("PackagesNotFoundError: nowhere")
    subprocess.run([{python!r}, "-m", "venv", "--system-site-packages", "--without-pip", prefix], check=True)
    open(os.path.join(prefix, "lib", "python{version}", "site-packages", "conda_made.py"), "w").write("x = 3\\n")
    open(os.path.join(prefix, "lib", "python{version}", "site-packages", "parent.pth"), "w").write({sites!r})
"""


class TestConda:
    @pytest.fixture
    def conda(self, ray, tmp_path, monkeypatch):
        import site

        program = tmp_path / "conda"
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        sites = "\n".join(site.getsitepackages())
        program.write_text(CONDA.format(python=sys.executable, version=version, sites=sites))
        program.chmod(0o755)
        named = tmp_path / "envs" / "mine"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(named)], check=True)
        (named / "lib" / f"python{version}" / "site-packages" / "parent.pth").write_text(sites)
        monkeypatch.setenv("CONDA_EXE", str(program))
        monkeypatch.setenv("FAKE_CONDA_ENV", str(named))
        ray.shutdown(wait_for_processes=True)
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield ray
        ray.shutdown(wait_for_processes=True)
        monkeypatch.delenv("CONDA_EXE")
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)

    def test_is_made_named_and_refused(self, conda):
        described = {"conda": {"dependencies": ["x"]}}
        assert look(conda, described, "imported('conda_made').x") == 3
        prefix = look(conda, {"conda": "mine"}, "imported('sys').prefix")
        assert prefix.endswith("envs/mine")
        with pytest.raises(RuntimeEnvSetupError, match="no environment 'yours'.*mine"):
            look(conda, {"conda": "yours"}, "1")
        with pytest.raises(RuntimeEnvSetupError, match="PackagesNotFoundError: nowhere"):
            look(conda, {"conda": {"dependencies": ["nowhere"]}}, "1")

    def test_without_conda_says_what_to_do(self, ray, monkeypatch):
        import shutil

        if shutil.which("conda"):
            pytest.skip("conda is installed here")
        with pytest.raises(RuntimeEnvSetupError, match="needs conda.*use 'pip' or 'uv'"):
            look(ray, {"conda": "some"}, "1")


def test_a_command_of_ones_own_runs_the_workers(ray, tmp_path):
    wrapper = tmp_path / "wrapper"
    wrapper.write_text(f'#!/bin/sh\nexport WRAPPED=yes\nexec {sys.executable} "$@"\n')
    wrapper.chmod(0o755)
    assert look(ray, {"py_executable": str(wrapper)}, "imported('os').environ['WRAPPED']") == "yes"
    with pytest.raises(RuntimeEnvSetupError, match="no-such-program"):
        look(ray, {"py_executable": "/no-such-program"}, "1")


def test_workers_of_an_environment_are_forked_by_the_nodes_zygote(ray, wheels):
    """So they start as quickly as any other: no interpreter is started for them."""
    parent = "imported('os').getppid()"
    assert look(ray, pip(wheels, "nk_one==1.0"), parent) == look(ray, {}, parent)


def test_a_working_directory_needs_no_zygote_of_its_own(ray, tmp_path):
    (tmp_path / "file").touch()
    parent = "imported('os').getppid()"
    assert look(ray, {"working_dir": str(tmp_path)}, parent) == look(ray, {}, parent)
