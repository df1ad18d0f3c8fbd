"""Virtual environments of pip and uv, conda's environments, wheels: what to run, and what to put on the module path."""

from __future__ import annotations

import json
import os
import re
import site
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from narke._private.runtime_env.cache import Cache, content_key, remove

__all__ = ["Interpreter", "InstallError", "conda", "install_wheel", "pip", "uv"]

_WORKING_DIR_VARIABLE = "RAY_RUNTIME_ENV_CREATE_WORKING_DIR"
_PIP_OPTIONS = ("--disable-pip-version-check", "--no-cache-dir")
_UV_OPTIONS = ("--no-cache",)
_TAIL_LINES = 60
# What the node's zygote has imported before it knows an environment (zygote._preload).
_PRELOADED = ("narke", "cloudpickle", "numpy")
_OWN_START = ("sitecustomize.py", "usercustomize.py")


class InstallError(RuntimeError):
    """An installer has failed; the text ends with what it said."""


class Interpreter:
    """What an installed environment is to workers.

    Attributes:
        prefix: its folder.
        python: its interpreter.
        site: folders of its packages.
        is_own: whether workers must be started by its interpreter; otherwise the node's takes its packages on.
    """

    def __init__(self, prefix: str, python: str, site_dirs: Sequence[str], is_own: bool) -> None:
        self.prefix = prefix
        self.python = python
        self.site = list(site_dirs)
        self.is_own = is_own


# ---- running installers ------------------------------------------------------------------------------------


def _run(what: str, command: Sequence[str], variables: Mapping[str, str], cwd: str | None = None) -> str:
    """Run an installer; returns its output.

    Raises:
        InstallError: it fails.
    """
    import subprocess

    print(f"$ {' '.join(command)}", file=sys.stderr, flush=True)
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **variables},
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
    except OSError as error:
        raise InstallError(f"{what}: {command[0]} cannot be run: {error}") from error
    said = _without_secrets(done.stdout)
    print(said, file=sys.stderr, flush=True)
    if done.returncode != 0:
        tail = "\n".join(said.splitlines()[-_TAIL_LINES:])
        raise InstallError(f"{what} failed with exit status {done.returncode}. It said:\n{tail}")
    return said


def _without_secrets(text: str) -> str:
    """The text without user names and passwords of URLs."""
    return re.sub(r"(\w+://)[^/\s@]+@", r"\1***@", text)


# ---- pip and uv --------------------------------------------------------------------------------------------


def pip(config: Mapping[str, Any], variables: Mapping[str, str], cache: Cache, cwd: str) -> Interpreter:
    """A virtual environment with what pip installs for ``runtime_env["pip"]``.

    Args:
        config: packages, pip_check, pip_version, pip_install_options.
        variables: environment variables for the installer.
        cache: where it is kept.
        cwd: the environment's working directory, "" without one.

    Raises:
        InstallError: pip fails.
    """
    options = list(config.get("pip_install_options", _PIP_OPTIONS))
    packages = _expanded(config["packages"], cwd)

    def make(path: str) -> None:
        python = _make_virtualenv(path)
        _need_pip(python, path)
        if config.get("pip_version"):
            _run(
                "Installing pip",
                [*_pip(python), "install", *_PIP_OPTIONS, f"pip{config['pip_version']}"],
                variables,
            )
        if packages:
            command = [*_pip(python), "install", "-r", _write_requirements(path, packages), *options]
            _run(f"Installing {_listed(packages)} with pip", command, variables, cwd or None)
        if config.get("pip_check"):
            _run("pip check", [*_pip(python), "check", "--disable-pip-version-check"], variables)

    return _virtualenv(cache.use(_key("pip", config, packages), make))


def uv(config: Mapping[str, Any], variables: Mapping[str, str], cache: Cache, cwd: str) -> Interpreter:
    """A virtual environment with what uv installs for ``runtime_env["uv"]``.

    Args:
        config: packages, uv_check, uv_version, uv_pip_install_options.
        variables, cache, cwd: as for `pip`.

    Raises:
        InstallError: uv fails, or cannot be had.
    """
    options = list(config.get("uv_pip_install_options", _UV_OPTIONS))
    packages = _expanded(config["packages"], cwd)

    def make(path: str) -> None:
        python = _make_virtualenv(path)
        program = _uv_program(python, path, config.get("uv_version"), variables)
        if packages:
            command = [*program, "pip", "install", "--python", python]
            command += ["-r", _write_requirements(path, packages), *options]
            _run(f"Installing {_listed(packages)} with uv", command, variables, cwd or None)
        if config.get("uv_check"):
            _run("uv pip check", [*program, "pip", "check", "--python", python], variables)

    return _virtualenv(cache.use(_key("uv", config, packages), make))


def _pip(python: str) -> list[str]:
    return [python, "-m", "pip"]


def _key(kind: str, config: Mapping[str, Any], packages: Sequence[str]) -> str:
    base = [os.path.realpath(sys.executable), sys.version, _parent_sites()]
    return content_key([kind, {**config, "packages": list(packages)}, base])


def _expanded(packages: Sequence[str], cwd: str) -> list[str]:
    """The requirements with the name of the working directory's variable replaced by the folder."""
    return [line.replace(f"${{{_WORKING_DIR_VARIABLE}}}", cwd or ".") for line in packages]


def _listed(packages: Sequence[str]) -> str:
    return _without_secrets(", ".join(packages[:5]) + (" ..." if len(packages) > 5 else ""))


def _write_requirements(path: str, packages: Sequence[str]) -> str:
    file_name = os.path.join(path, "requirements.txt")
    with open(file_name, "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in packages)
    return file_name


def _parent_sites() -> list[str]:
    """Where the packages of the node's interpreter, and this one, are."""
    import narke

    own = os.path.dirname(os.path.dirname(os.path.abspath(narke.__file__)))
    return list(dict.fromkeys([*site.getsitepackages(), own]))


def _make_virtualenv(path: str) -> str:
    """Make a virtual environment that also has the packages of this interpreter's; returns its python."""
    import venv

    venv.EnvBuilder(system_site_packages=True, symlinks=True, with_pip=False).create(path)
    with open(os.path.join(_site_of(path), "_narke_parent.pth"), "w", encoding="utf-8") as file:
        file.writelines(f"{folder}\n" for folder in _parent_sites())
    return os.path.join(path, "bin", "python")


def _need_pip(python: str, path: str) -> None:
    import importlib.util

    if importlib.util.find_spec("pip") is not None:
        return
    try:
        _run("Installing pip into the environment", [python, "-m", "ensurepip"], {})
    except InstallError as error:
        raise InstallError(
            f"{sys.executable} has no pip, and none can be put into {path}: install python3-pip (or -venv) on this "
            f"node. {error}"
        ) from error


def _uv_program(python: str, path: str, version: str | None, variables: Mapping[str, str]) -> list[str]:
    import shutil

    found = shutil.which("uv")
    if found and not version:
        return [found]
    import importlib.util

    if not version and importlib.util.find_spec("uv") is not None:
        return [sys.executable, "-m", "uv"]
    _need_pip(python, path)
    try:
        _run("Installing uv", [*_pip(python), "install", *_PIP_OPTIONS, f"uv{version or ''}"], variables)
    except InstallError as error:
        raise InstallError(f"uv is not on this node and could not be installed: {error}") from error
    return [python, "-m", "uv"]


def _site_of(prefix: str) -> str:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return os.path.join(prefix, "lib", version, "site-packages")


def _virtualenv(path: str) -> Interpreter:
    folder = _site_of(path)
    names = set(os.listdir(folder))
    replaces = any(name in names or f"{name}.py" in names for name in _PRELOADED)
    return Interpreter(
        path, os.path.join(path, "bin", "python"), [folder], replaces or not names.isdisjoint(_OWN_START)
    )


# ---- conda -------------------------------------------------------------------------------------------------


def conda(config: Any, variables: Mapping[str, str], cache: Cache) -> Interpreter:
    """A conda environment: an existing one by its name or folder, or one that is made from a description.

    Raises:
        InstallError: there is no conda on this node, no such environment, or it cannot be made or used.
    """
    program = _conda_program()
    if isinstance(config, str) and not config.endswith((".yml", ".yaml")):
        prefix = config if os.path.isdir(config) else _named_conda(program, config)
    else:

        def make(path: str) -> None:
            folder = f"{path}.spec"
            os.makedirs(folder, exist_ok=True)
            try:
                spec = os.path.join(folder, "environment.yml")
                with open(spec, "w", encoding="utf-8") as file:
                    json.dump(config, file)  # JSON is YAML
                _run(
                    "conda env create", [program, "env", "create", "--yes", "-p", path, "-f", spec], variables
                )
            finally:
                remove(folder)

        prefix = cache.use(content_key(["conda", config]), make)
    return _conda_interpreter(prefix)


def _conda_program() -> str:
    import shutil

    home = os.environ.get("RAY_CONDA_HOME")
    found = (
        os.path.join(home, "bin", "conda") if home else os.environ.get("CONDA_EXE") or shutil.which("conda")
    )
    if not found or not os.access(found, os.X_OK):
        raise InstallError(
            "runtime_env['conda'] needs conda on every node, and it is neither in PATH nor at CONDA_EXE or "
            "RAY_CONDA_HOME of this one. Install it, or use 'pip' or 'uv'."
        )
    return found


def _named_conda(program: str, name: str) -> str:
    prefixes = json.loads(_run("conda env list", [program, "env", "list", "--json"], {}))["envs"]
    for prefix in prefixes:
        if os.path.basename(prefix) == name or (name == "base" and prefix == prefixes[0]):
            return str(prefix)
    known = ", ".join(os.path.basename(prefix) for prefix in prefixes) or "none"
    raise InstallError(f"conda has no environment {name!r} on this node; it has {known}")


def _conda_interpreter(prefix: str) -> Interpreter:
    python = os.path.join(prefix, "bin", "python")
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    version = "import sys; print('%d.%d' % sys.version_info[:2])"
    found = _run("The environment's Python", [python, "-c", version], {}).split()[-1]
    if found != own:
        raise InstallError(
            f"the conda environment {prefix} has Python {found}, this node {own}: the two must be the same version; "
            f"add python={own} to the environment"
        )
    return Interpreter(prefix, python, [_site_of(prefix)], True)


# ---- wheels ------------------------------------------------------------------------------------------------


def install_wheel(wheel: str, target: str) -> None:
    """Make the folder `target` with what a wheel holds; its requirements are installed there, too.

    Raises:
        InstallError: pip fails.
        ValueError: it is no wheel.
    """
    if _requires_nothing(wheel):
        from narke._private import packages

        packages.unpack(wheel, target)
        _merge_data(target)
        return
    command = [*_pip(sys.executable), "install", *_PIP_OPTIONS, "--target", target, wheel]
    _run(f"Installing {os.path.basename(wheel)} with pip", command, {})


def _requires_nothing(wheel: str) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(wheel) as archive:
            metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
            text = archive.read(metadata).decode("utf-8", errors="replace")
    except (zipfile.BadZipFile, StopIteration, OSError) as error:
        raise ValueError(f"{os.path.basename(wheel)} is no wheel: {error}") from error
    lines = [line for line in text.splitlines() if line.startswith("Requires-Dist:")]
    return all("extra ==" in line for line in lines)


def _merge_data(target: str) -> None:
    """Put what a wheel keeps for the module path apart (name.data/purelib and platlib) where it belongs."""
    import shutil

    for name in os.listdir(target):
        for part in ("purelib", "platlib"):
            folder = os.path.join(target, name, part)
            if name.endswith(".data") and os.path.isdir(folder):
                shutil.copytree(folder, target, dirs_exist_ok=True)
