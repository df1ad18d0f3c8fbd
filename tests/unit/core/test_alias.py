"""`import ray` served by this package: each in an interpreter of its own, as it changes how imports work."""

import os
import pathlib
import subprocess
import sys

import pytest

PACKAGE = str(pathlib.Path(__file__).resolve().parents[3] / "python")


def run(code, **env):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": PACKAGE, **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def said(code, **env):
    ended = run(code, **env)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


INSTALL = "from narke import _alias; _alias.install()\n"


def test_same_modules_under_both_names():
    code = INSTALL + (
        "import ray, narke, ray.exceptions, narke.exceptions, ray.util.queue, narke.util.queue, sys\n"
        "import ray._private.session\n"
        "print(ray is narke, ray.exceptions is narke.exceptions, ray.util.queue is narke.util.queue,\n"
        "      sys.modules['ray._private.session'] is sys.modules['narke._private.session'],\n"
        "      ray.exceptions.__name__, ray.exceptions.__spec__.name)"
    )
    assert said(code) == "True True True True narke.exceptions narke.exceptions"


def test_what_was_imported_before_is_the_same():
    assert (
        said("import narke.actor\n" + INSTALL + "import ray.actor; print(ray.actor is narke.actor)") == "True"
    )


def test_version_and_distribution():
    code = INSTALL + "import ray, importlib.metadata as m; print(ray.__version__, m.version('ray'))"
    assert said(code) == "2.60.0 2.60.0"


def test_other_distributions_are_found_still():
    code = INSTALL + "import importlib.metadata as m; print(bool(m.version('cloudpickle')))"
    assert said(code) == "True"


def test_twice_is_once():
    code = (
        INSTALL + "_alias.install(); import sys; print(sum('_alias' in str(type(f)) for f in sys.meta_path))"
    )
    assert said(code) == "1"


def test_what_is_not_there_is_an_import_error():
    code = INSTALL + (
        "try:\n import ray.no_such_module\nexcept ModuleNotFoundError as error: print(error.name)\n"
        "try:\n from ray import no_such_name\nexcept ImportError as error: print('no')"
    )
    assert said(code).split() == ["ray.no_such_module", "no"]


def test_pickles_load_under_either_name():
    code = INSTALL + (
        "import pickle, ray.exceptions\n"
        "data = pickle.dumps(ray.exceptions.GetTimeoutError('x'), 3)\n"
        "other = data.replace(b'cnarke.exceptions', b'cray.exceptions')\n"
        "print(data != other, type(pickle.loads(other)) is ray.exceptions.GetTimeoutError)"
    )
    assert said(code) == "True True"


def test_another_ray_is_not_replaced(tmp_path):
    (tmp_path / "ray.py").write_text("real = True\n")
    ended = run("import ray\n" + INSTALL, PYTHONPATH=os.pathsep.join([str(tmp_path), PACKAGE]))
    assert "ImportError" in ended.stderr and "imported already" in ended.stderr


def test_shim_serves_programs_started_by_programs():
    shim = os.path.join(PACKAGE, "narke", "_shim")
    code = "import ray, ray.exceptions, narke; print(ray is narke, ray.__version__)"
    assert said(code, PYTHONPATH=os.pathsep.join([shim, PACKAGE])) == "True 2.60.0"


def test_importing_the_package_loads_nothing_else():
    code = "import sys; before = set(sys.modules); import narke; print(sorted(set(sys.modules) - before))"
    loaded = said(code)
    assert "narke._native" not in loaded and "typing" not in loaded and "asyncio" not in loaded


@pytest.mark.parametrize(
    "name", ["init", "ObjectRefGenerator", "NodeID", "LoggingConfig", "get_gpu_ids", "util"]
)
def test_public_names_are_found(name):
    assert said(f"import narke; print(getattr(narke, {name!r}) is getattr(narke, {name!r}))") == "True"


def test_every_listed_name_exists():
    code = "import narke; print([n for n in narke.__all__ if not n.startswith('Object') and not hasattr(narke, n)])"
    assert said(code) == "[]"
