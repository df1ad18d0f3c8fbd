"""What ./dev runs: ./dev <command>; ./dev <command> --help says more."""

from __future__ import annotations

import argparse
import fcntl
import os
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import toolchain  # noqa: E402
from tally import Tally  # noqa: E402
from toolchain import PYTHON, ROOT  # noqa: E402

DEFAULT_JOBS = 3
SANITIZERS = ("asan", "tsan")
TEST_TIMEOUT_S = 120
SIMULATOR = "build/release/src/sim/narke-sim"
SIMULATED_SEEDS = 60


def run(*command: object, **options: object) -> None:
    """Run a command in the repository's root, and end with its status if it fails."""
    words = [str(word) for word in command]
    status = subprocess.run(words, cwd=ROOT, **options).returncode
    if status != 0:
        sys.exit(f"this command ended with status {status}: {' '.join(words)}")


def build(preset: str, jobs: int, targets: list[str]) -> None:
    """Configure and build a preset; two builds of one preset wait for each other."""
    folder = ROOT / "build" / preset
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        run("cmake", "--preset", preset, f"-DPython3_EXECUTABLE={PYTHON}", stdout=subprocess.DEVNULL)
        words = ["--target", *targets] if targets else []
        run("cmake", "--build", "--preset", preset, "-j", jobs, *words)


def sources(*patterns: str) -> list[str]:
    """Return the files that git tracks or would track, by pattern."""
    listing = ["git", "ls-files", "-co", "--exclude-standard", "--deduplicate", *patterns]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    return [name for name in names if (ROOT / name).exists()]


def command_quickstart(options: argparse.Namespace) -> None:
    """Set up, build, and run the housing example."""
    print("1/3 tools and packages", flush=True)
    toolchain.ensure()
    print("2/3 build", flush=True)
    build("release", options.jobs, ["python_tree"])
    print("3/3 examples/housing.py", flush=True)
    run(PYTHON, "examples/housing.py")
    print(
        "\nNarke works. Next:\n"
        "  .venv/bin/python                import narke as ray, and go on as with Ray\n"
        "  .venv/bin/narke run program.py  run a Ray program unchanged\n"
        "  ./dev test                      run all tests"
    )


def command_build(options: argparse.Namespace) -> None:
    """Build a preset; python/narke then runs on what was built."""
    toolchain.ensure()
    build(options.preset, options.jobs, options.targets)
    if not options.targets:
        build(options.preset, options.jobs, ["python_tree"])


def command_test(options: argparse.Namespace) -> int:
    """Build, run all tests, and close with the counts."""
    toolchain.ensure(*toolchain.TEST_PACKAGES)
    tally = Tally()
    ahead = None
    if build_and_ctest(tally, "release", options.jobs, []):
        tally.step("sim", [SIMULATOR, "1", "--seeds", str(SIMULATED_SEEDS)], cwd=ROOT)
        try_build(tally, "release", options.jobs, ["narke_headers"])
        ahead = None if options.fast else build_ahead(options.jobs)
        for folder in pytest_folders():
            pytest = ["-m", "pytest", "-q", folder, f"--timeout={TEST_TIMEOUT_S}"]
            tally.suite(folder, [str(PYTHON), *pytest], "--junitxml", cwd=ROOT)
    for preset in () if options.fast else SANITIZERS:
        build_and_ctest(tally, preset, options.jobs, ["narke_tests"])
    if ahead is not None:
        ahead.wait()
    return tally.close()


def build_ahead(jobs: int) -> subprocess.Popen[bytes]:
    """Begin to build what the sanitizers check, in the time that the Python tests leave the processors idle.

    Whoever builds such a preset meanwhile waits for it (see build), and tells what went wrong.
    """
    each = [
        f"'{sys.executable}' scripts/dev.py build --preset {preset} narke_tests -j {jobs}"
        for preset in SANITIZERS
    ]
    return subprocess.Popen(
        ["sh", "-c", "; ".join(each)],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0)),
    )


def pytest_folders() -> list[str]:
    """Return the folders of tests; each runs in a process of its own, as each sets up its own clusters."""
    folders = {str(Path(*Path(name).parts[:2])) for name in sources("tests/**/test_*.py")}
    return sorted(folders - {"tests/tidy"})


def try_build(tally: Tally, preset: str, jobs: int, targets: list[str]) -> bool:
    """Build as one counted check. Returns whether it succeeded."""
    name = " ".join(["build", preset, *targets])
    print(f"== {name}", flush=True)
    try:
        build(preset, jobs, targets)
    except SystemExit as failure:
        print(failure, flush=True)
        tally.add(name, False)
        return False
    tally.add(name, True)
    return True


def build_and_ctest(tally: Tally, preset: str, jobs: int, targets: list[str]) -> bool:
    """Build a preset and run its C++ tests. Returns whether it could be built."""
    if not try_build(tally, preset, jobs, targets):
        return False
    ctest = ["ctest", "--preset", preset, "-j", str(jobs), "--quiet"]
    tally.suite(f"ctest {preset}", ctest, "--output-junit", cwd=ROOT)
    return True


def command_check(options: argparse.Namespace) -> int:
    """Check format, lint, types and the tidy rules; these import the package, so it is built first."""
    toolchain.ensure()
    tally = Tally()
    python = str(PYTHON)
    cc_files = sources("*.cc", "*.h")
    if cc_files:
        tally.step("clang-format", ["clang-format-19", "--dry-run", "-Werror", *cc_files], cwd=ROOT)
    tally.step("ruff check", [python, "-m", "ruff", "check", "-q", "."], cwd=ROOT)
    tally.step("ruff format", [python, "-m", "ruff", "format", "-q", "--check", "."], cwd=ROOT)
    tally.step("mypy", [python, "-m", "mypy"], cwd=ROOT)
    try_build(tally, "release", options.jobs, ["python_tree"])
    tally.suite("tidy", [python, "-m", "pytest", "-q", "tests/tidy"], "--junitxml", cwd=ROOT)
    return tally.close()


def command_bench(options: argparse.Namespace) -> None:
    """Build, then run benchmarks/run.py with the given arguments."""
    toolchain.ensure()
    build("release", options.jobs, [])
    run(PYTHON, "benchmarks/run.py", *options.arguments)


def command_sim(options: argparse.Namespace) -> None:
    """Replay the simulation of a seed."""
    toolchain.ensure()
    build("release", options.jobs, ["narke-sim"])
    run(SIMULATOR, *options.arguments)


def command_chaos(options: argparse.Namespace) -> None:
    """Hurt a real cluster (--serve: Serve) under load, for minutes or hours (--minutes N), and check the outcome."""
    toolchain.ensure()
    build("release", options.jobs, ["python_tree"])
    run(PYTHON, "tests/chaos/chaos_run.py", *options.arguments)


def command_fuzz(options: argparse.Namespace) -> None:
    """Run one fuzz target, or all of them, for some seconds each; corpora are kept in build/fuzz/corpus."""
    toolchain.ensure()
    build("fuzz", options.jobs, ["narke_tests"])
    found = sorted(path for path in (ROOT / "build/fuzz/src").glob("*/narke_*_fuzz") if path.is_file())
    chosen = [path for path in found if options.target in ("all", path.name)]
    if not chosen:
        sys.exit(f"no fuzz target {options.target}; there are: {', '.join(path.name for path in found)}")
    for path in chosen:
        corpus = ROOT / "build/fuzz/corpus" / path.name
        corpus.mkdir(parents=True, exist_ok=True)
        print(f"== {path.name}, {options.seconds} s", flush=True)
        run(path, corpus, f"-max_total_time={options.seconds}", f"-artifact_prefix={corpus}-")


def command_dashboard(options: argparse.Namespace) -> None:
    """Build the dashboard's files, which the gateway serves; needs Node.js and npm. --test: in a real browser, too."""
    if options.test:
        toolchain.ensure_system_packages(toolchain.BROWSER_PACKAGES)
    # Not `npm ci`: it wants packages of all systems in the lock, which npm leaves out.
    install = ("npm", "install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund")
    for words in (install, ("npm", "run", "build")):
        run(*words, "--prefix", "dashboard")
    if options.test:
        run(PYTHON, "-m", "pytest", "-q", "tests/gateway/test_dashboard.py")


def command_fmt(options: argparse.Namespace) -> None:
    """Format all sources."""
    toolchain.ensure()
    run("clang-format-19", "-i", *sources("*.cc", "*.h"))
    run(PYTHON, "-m", "ruff", "check", "-q", "--fix-only", ".")
    run(PYTHON, "-m", "ruff", "format", "-q", ".")


def parse_arguments() -> argparse.Namespace:
    """Read the command line; unknown words of bench, chaos and sim go on to their programs."""
    parser = argparse.ArgumentParser(prog="./dev", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name in ("quickstart", "build", "test", "check", "bench", "chaos", "sim", "fuzz", "dashboard", "fmt"):
        function = globals()[f"command_{name}"]
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(function=function)
        command.add_argument(
            "-j", "--jobs", type=int, default=DEFAULT_JOBS, help="parallel jobs (%(default)s)"
        )
        if name == "build":
            command.add_argument(
                "--preset", default="release", help="a preset of CMakePresets.json (release)"
            )
            command.add_argument("targets", nargs="*", help="CMake targets (all)")
        elif name == "dashboard":
            command.add_argument("--test", action="store_true", help="install Chromium and drive every page")
        elif name == "test":
            command.add_argument("--fast", action="store_true", help="leave out the sanitizer builds")
        elif name == "fuzz":
            command.add_argument("target", nargs="?", default="all", help="narke_<module>_<x>_fuzz (all)")
            command.add_argument("seconds", nargs="?", type=int, default=30, help="seconds for each (30)")
    options, rest = parser.parse_known_args()
    if rest and options.command not in ("bench", "chaos", "sim"):
        parser.error(f"unknown arguments: {' '.join(rest)}")
    options.arguments = rest
    return options


if __name__ == "__main__":
    os.chdir(ROOT)
    arguments = parse_arguments()
    sys.exit(arguments.function(arguments))
