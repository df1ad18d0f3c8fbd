"""The command line: how it is read, and that programs see what they see under python."""

import os
import pathlib
import subprocess
import sys

import pytest

from narke._private.cli import run as run_command
from narke._private.cli import start, status

PACKAGE = str(pathlib.Path(__file__).resolve().parents[3] / "python")


class TestRunArguments:
    @pytest.mark.parametrize(
        "words, expected",
        [
            (["p.py"], ("program", "p.py", [])),
            (["p.py", "-m", "x"], ("program", "p.py", ["-m", "x"])),
            (["-m", "mod", "a", "--b"], ("module", "mod", ["a", "--b"])),
            (["-c", "pass", "a"], ("code", "pass", ["a"])),
            (["python", "p.py", "a"], ("program", "p.py", ["a"])),
            (["python3", "-m", "mod"], ("module", "mod", [])),
        ],
    )
    def test_split(self, words, expected):
        assert run_command.parse(words) == expected

    @pytest.mark.parametrize("words", [[], ["-m"], ["-c"], ["--what"]])
    def test_nothing_to_run(self, words, capsys):
        with pytest.raises(SystemExit) as ended:
            run_command.parse(words)
        assert ended.value.code == 2 and "narke run" in capsys.readouterr().err


class TestStartArguments:
    def test_head(self):
        options = start.parse(["--head", "--num-cpus", "2", "--resources", '{"a": 1}', "--labels", "k=v,l=w"])
        assert (
            options.num_cpus == 2 and options.resources == {"a": 1} and options.labels == {"k": "v", "l": "w"}
        )

    def test_ignored_options_are_taken(self):
        start.parse(
            ["--head", "--ray-client-server-port=10001", "--dashboard-port=8265", "--disable-usage-stats"]
        )

    @pytest.mark.parametrize(
        "words",
        [[], ["--head", "--labels", "k"], ["--head", "--resources", "[1]"], ["--head", "--num-cpu", "x"]],
    )
    def test_wrong(self, words, capsys):
        with pytest.raises(SystemExit):
            start.parse(words)
        assert "narke start" in capsys.readouterr().err


def test_status_report():
    text = status.report(
        "a:1", 1, {"CPU": 4.0, "memory": 2**31, "node:a": 1.0}, {"CPU": 1.5, "memory": 2**31}
    )
    assert "2.5/4 CPU" in text and "0.00GiB/2.00GiB memory" in text and "node:a" not in text


def narke(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "narke", *words],
        env={**os.environ, "PYTHONPATH": PACKAGE},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )


class TestPrograms:
    PROGRAM = (
        "import sys, os, ray, helper\n"
        "print(__name__, sys.argv[1:], os.path.basename(__file__), sys.modules['__main__'].helper is helper)\n"
        "print(ray.__version__)\n"
    )

    @pytest.fixture
    def folder(self, tmp_path):
        (tmp_path / "helper.py").write_text("")
        (tmp_path / "program.py").write_text(self.PROGRAM)
        return tmp_path

    def test_file(self, folder):
        ended = narke("run", str(folder / "program.py"), "a", "-b")
        assert ended.stdout.splitlines() == ["__main__ ['a', '-b'] program.py True", "2.60.0"], ended.stderr

    def test_module(self, folder):
        ended = narke("run", "-m", "program", "a", cwd=folder)
        assert ended.stdout.splitlines() == ["__main__ ['a'] program.py True", "2.60.0"], ended.stderr

    def test_code(self):
        ended = narke("run", "-c", "import ray, sys; print(ray.__version__, sys.argv)", "x")
        assert ended.stdout.strip() == "2.60.0 ['-c', 'x']", ended.stderr

    def test_programs_have_their_own_future(self, folder):
        (folder / "notes.py").write_text("def f(x: int): ...\nprint(f.__annotations__)\n")
        assert narke("run", str(folder / "notes.py")).stdout.strip() == "{'x': <class 'int'>}"

    def test_exit_status(self):
        assert narke("run", "-c", "import sys; sys.exit(3)").returncode == 3
        assert narke("run", "-c", "1/0").returncode == 1

    def test_missing_file(self):
        ended = narke("run", "/nowhere/program.py")
        assert ended.returncode == 1 and "no such file" in ended.stderr

    def test_programs_started_by_programs(self):
        code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import ray; print(ray.__name__)'])"
        assert narke("run", "-c", code).stdout.strip() == "narke"


def test_version_and_help():
    assert narke("--version").stdout.startswith("narke ")
    assert "start" in narke("--help").stdout
    assert narke().returncode == 2
