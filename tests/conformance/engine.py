"""Put the engine under test behind the name `ray`; imported first by the suite and its programs.

NARKE_TEST_ENGINE=ray leaves the real Ray in place; anything else puts Narke there, in workers too.
"""

import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
IS_RAY = os.environ.get("NARKE_TEST_ENGINE", "narke") == "ray"


def _lead_path(*folders):
    """Put folders first on this process's path and on that of every process it starts."""
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    fresh = [str(folder) for folder in folders if str(folder) not in known]
    os.environ["PYTHONPATH"] = os.pathsep.join(fresh + [entry for entry in known if entry])
    sys.path[:0] = [str(folder) for folder in folders if str(folder) not in sys.path]


def _install_narke():
    os.environ["NARKE_AS_RAY"] = "1"
    _lead_path(ROOT / "python")
    import narke._alias

    narke._alias.install()


_lead_path(HERE, ROOT)
if not IS_RAY:
    _install_narke()


def run_program(tmp_path, source, timeout_s=90, **variables):
    """Run `source` as a program of its own, with `import ray` meaning the engine under test.

    Args:
        tmp_path: folder the program is written to.
        source: the program's text.
        timeout_s: seconds after which the program is killed and TimeoutExpired raised.
        variables: environment variables to add.

    Returns: subprocess.CompletedProcess with text stdout and stderr.
    """
    program = tmp_path / "program.py"
    program.write_text("import engine\n" + source)
    return subprocess.run(
        [sys.executable, str(program)],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
