"""The process that makes what a runtime environment names, on each node once, before workers are forked for it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any

__all__ = ["Made", "SetupTimeout", "main", "make"]

_DEFAULT_TIMEOUT_S = 600


class SetupTimeout(Exception):
    """The environment was not ready in time."""


class Made:
    """What workers of an environment need to know.

    Attributes:
        sys_path: folders in front of the module path.
        site: folders in front of the interpreter's own packages.
        cwd: working directory, "" for the job's.
        env_vars: variables over those of the environment's own.
        prefix, python: the virtual environment's folder and interpreter; "" for the node's.
        command: what starts a zygote of its own; empty: the node's zygote forks the workers.
        held: lock files of what is used.
        keep: how long the answer holds as long as what is held is there: "host", "session" (it names folders of the
            session), or "" (somebody else's code had a say).
    """

    def __init__(self) -> None:
        self.sys_path: list[str] = []
        self.site: list[str] = []
        self.cwd = ""
        self.env_vars: dict[str, str] = {}
        self.prefix = ""
        self.python = ""
        self.command: list[str] = []
        self.held: list[str] = []
        self.keep = "host"

    def context(self) -> dict[str, Any]:
        """What the zygote is told."""
        names = ("sys_path", "site", "cwd", "env_vars", "prefix", "python")
        return {name: getattr(self, name) for name in names} | {"is_own": bool(self.command)}


def main() -> None:
    """Read the text of an environment from standard input, make it, answer, and hold it until the node does.

    Arguments: the package's folder, and the session's.
    """
    session_dir = sys.argv[2]
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    _end_with_parent()
    try:
        env = json.load(sys.stdin)
        env.pop("_setup", None)
        with _deadline(env):
            made = make(env, session_dir, _downloader(session_dir))
    except BaseException as error:  # the edge of this program: the text is the answer
        _answer(out, [("error", _text_of(error)), ("end", "")])
        return
    fields = [("context", json.dumps(made.context()))]
    if made.command:  # with a folder alone it would be another interpreter than the node's, too
        fields += [("cwd", made.cwd), *(("command", word) for word in made.command)]
    fields += [("keep", made.keep), *(("hold", path) for path in made.held)]
    _answer(out, [*fields, ("end", "")])
    while os.read(out, 4096):  # the node closes its end when it holds the locks itself
        pass


def _text_of(error: BaseException) -> str:
    import traceback

    known = (ValueError, OSError, SetupTimeout, RuntimeError)
    if isinstance(error, known):
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception(error))


def _answer(out: int, fields: list[tuple[str, str]]) -> None:
    data = "".join(f"{key}\0{value.replace(chr(0), '')}\0" for key, value in fields).encode(errors="replace")
    while data:
        data = data[os.write(out, data) :]


def _end_with_parent() -> None:
    """End, with the installers that run, when the node does."""
    from narke._private import process

    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    process.prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


@contextlib.contextmanager
def _deadline(env: dict[str, Any]) -> Iterator[None]:
    seconds = (env.get("config") or {}).get("setup_timeout_seconds", _DEFAULT_TIMEOUT_S)

    def on_alarm(*_: Any) -> None:
        raise SetupTimeout(
            f"it was not ready within {seconds} s; give it longer with config={{'setup_timeout_seconds': ...}}"
        )

    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(seconds if seconds > 0 else 0)
    try:
        yield
    finally:
        signal.alarm(0)


def _downloader(session_dir: str) -> Any:
    def download(name: str, to: str) -> None:
        from narke import _native
        from narke._private import observer
        from narke._private.runtime_env import packages_link

        with observer.observing(session_dir):
            packages_link.download(lambda method, **body: _native.control(method, body), name, to)

    return download


def make(env: dict[str, Any], session_dir: str, download: Any) -> Made:
    """Make all that an environment names.

    Args:
        env: its fields.
        session_dir: this node's session.
        download: fetches a package of the head by its name into a file.

    Raises:
        ValueError, OSError, RuntimeError: something cannot be made; the text says what, in the installer's words.
    """
    made = Made()
    if env.get("working_dir") or env.get("py_modules"):
        from narke._private.runtime_env import uris

        made.keep = "session"
        _bring_files(env, uris.Places(session_dir, download), made)
    _install(env, session_dir, made)
    if env.get("py_executable"):
        made.command = _words(env["py_executable"])
    _run_plugins(env, session_dir, made)
    return made


def _words(command: str) -> list[str]:
    import shlex

    return shlex.split(command)


_kept: list[Any] = []  # caches whose folders are in use, until this process ends


def _bring_files(env: dict[str, Any], places: Any, made: Made) -> None:
    from narke._private.runtime_env import uris

    if env.get("working_dir"):
        cache = places.cache("working_dir")
        made.cwd = uris.bring(env["working_dir"], places, cache, "working_dir")
        made.sys_path.append(made.cwd)
        _keep(cache, made)
    if env.get("py_modules"):
        cache = places.cache("py_modules")
        made.sys_path += [uris.bring(uri, places, cache, "py_modules") for uri in env["py_modules"]]
        _keep(cache, made)


def _keep(cache: Any, made: Made) -> None:
    made.held += cache.held
    _kept.append(cache)


def _install(env: dict[str, Any], session_dir: str, made: Made) -> None:
    kind = next((name for name in ("pip", "uv", "conda") if env.get(name)), None)
    if kind is None:
        return
    from narke._private.runtime_env import interpreters
    from narke._private.runtime_env.cache import Cache

    cache = Cache(os.path.join(os.path.dirname(session_dir), "runtime_env_cache"), kind)
    variables = dict(env.get("env_vars") or {})
    if kind == "conda":
        found = interpreters.conda(env[kind], variables, cache)
    else:
        found = getattr(interpreters, kind)(env[kind], variables, cache, made.cwd)
    made.prefix, made.python, made.site = found.prefix, found.python, found.site
    made.command = [found.python] if found.is_own else []
    _keep(cache, made)


def _run_plugins(env: dict[str, Any], session_dir: str, made: Made) -> None:
    from narke.runtime_env import RuntimeEnv

    described = RuntimeEnv(_validate=False, **env)
    if not described.plugins():
        return
    made.keep = ""
    import logging

    from narke._private.runtime_env import plugin
    from narke._private.runtime_env.context import RuntimeEnvContext

    context = RuntimeEnvContext(py_executable=" ".join(made.command) or None)
    folder = os.path.join(session_dir, "runtime_resources", "plugins")
    made.held += plugin.apply_plugins(described, context, folder, logging.getLogger("narke.runtime_env"))
    made.env_vars.update(context.env_vars)
    if context.py_executable:
        made.command = _words(context.py_executable)
    if context.command_prefix:
        words = made.command or [sys.executable]
        made.command = ["bash", "-c", f'{" ".join(context.command_prefix)} exec "$@"', "bash", *words]
