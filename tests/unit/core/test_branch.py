"""What a branch of the zygote refuses, told of processes and jobs by hand."""

import os
import subprocess
import sys

import pytest

from narke._private import branch, preloads

PREFIX = "import os, sys\nfrom narke._private import branch\n"


def grown(tmp_path, source, *after, modules="thing"):
    """What a process prints that has grown with a module of this source, installed for it alone."""
    folder = tmp_path / "site-packages"
    folder.mkdir(exist_ok=True)
    (folder / "thing.py").write_text(source)
    program = "\n".join([PREFIX, f"sys.path.insert(0, {str(folder)!r})", f"branch.grow({modules!r})", *after])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "A": "1", "OPENBLAS_NUM_THREADS": "1"},
    )
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def job(path="sys.path", variables="dict(os.environ)"):
    return f"branch.check_job({path}, {variables})", "print('fit')"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        (
            "import threading, time\nthreading.Thread(target=time.sleep, args=(9,), daemon=True).start()",
            "left 1 threads",
        ),
        ("import os\nPIPE = os.pipe()", "left open pipe:"),
        ("import subprocess\nCHILD = subprocess.Popen(['sleep', '1'])", "left the processes"),
        ("import numpy\nOWN = numpy.random.default_rng()", "a random generator of NumPy's"),
        ("raise OSError('broken')", "OSError: broken"),
    ],
)
def test_imports_that_make_a_process_unfit(tmp_path, source, why):
    assert why in grown(tmp_path, source, "print('fit')")


@pytest.mark.parametrize("modules", ["../thing", "a b", "", ",".join(["thing"] * 17), "x" * 129, "no_such"])
def test_names_that_are_refused(tmp_path, modules):
    assert "Unfit" in grown(tmp_path, "", "print('fit')", modules=modules)


def test_a_job_like_the_zygote_is_fit(tmp_path):
    assert grown(tmp_path, "", *job()) == "fit"


def test_a_job_that_has_a_module_of_a_name_itself_is_not(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    path = f"[{str(own)!r}, *sys.path]"
    assert grown(tmp_path, "", *job(path)) == "fit"
    (own / "thing.py").touch()
    assert "has modules of the names thing" in grown(tmp_path, "", *job(path))


def test_what_a_module_imports_counts_as_well(tmp_path):
    own = tmp_path / "own"
    own.mkdir()
    (own / "colorsys.py").touch()
    assert "colorsys" in grown(tmp_path, "import colorsys", *job(f"[{str(own)!r}, *sys.path]"))


def test_an_archive_of_modules_is_not_looked_into(tmp_path):
    archive = tmp_path / "modules.zip"
    archive.touch()
    assert "is an archive" in grown(tmp_path, "", *job(f"[{str(archive)!r}, *sys.path]"))


@pytest.mark.parametrize("change", ["{'B': '2'}", "{'A': '2'}"])
def test_a_job_with_other_variables_is_not_fit(tmp_path, change):
    assert "is another than when" in grown(tmp_path, "", *job(variables=f"{{**os.environ, **{change}}}"))


def test_a_job_without_a_variable_is_not_fit(tmp_path):
    without = "{k: v for k, v in os.environ.items() if k != 'A'}"
    assert "variable A" in grown(tmp_path, "", *job(variables=without))


def test_the_clusters_address_does_not_matter(tmp_path):
    assert grown(tmp_path, "", *job(variables="{**os.environ, 'RAY_ADDRESS': 'x'}")) == "fit"


def test_no_branch_is_fit_for_every_job():
    branch.check_job(["/anything.zip"], {"A": "B"})


def test_generators_without_a_seed_are_seeded_anew(tmp_path):
    look = (
        "import thing",
        "kept = thing.A.getstate(), thing.B.getstate()",
        "branch.seeding(lambda: print('own', end=' '))()",
        "print(thing.A.getstate() == kept[0], thing.B.getstate() == kept[1])",
    )
    source = "import random\nA = random.Random()\nB = random.Random(5)"
    assert grown(tmp_path, source, *look) == "own False True"


def test_what_a_request_says_of_its_workers():
    assert preloads.worker_kind(("a", "b"), {}, "") == "+a,b\n"
    assert preloads.worker_kind(("a",), {"pip": ["x"]}, "{}") == "+a\n{}"
    assert preloads.worker_kind(None, {}, "{}") == "{}"
    assert preloads.worker_kind(("a",), {"env_vars": {"A": "1"}}, "{}") == "{}"


def test_preloading_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("NARKE_PRELOAD", "0")
    assert preloads.worker_kind(("a",), {}, "") == ""
