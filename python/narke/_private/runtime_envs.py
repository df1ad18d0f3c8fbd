"""Runtime environments: what a task, an actor or a job needs around it, merged, checked and entered."""

from __future__ import annotations

import base64
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from narke._private import session

__all__ = [
    "enter",
    "inherit",
    "merge",
    "needs_setup",
    "normalize",
    "publish",
    "run_hook",
    "run_path_files",
    "text_of",
]

_MANAGERS = ("pip", "uv", "conda")
_MADE = (*_MANAGERS, "working_dir", "py_modules", "py_executable")
_UNAVAILABLE = ("container", "image_uri", "java_jars", "_nsight", "_rocprof_sys")


def inherit(runtime_env: Any) -> dict[str, Any]:
    """The environment of something this program submits: its own over the program's; {} when nothing is added.

    Local directories in it are brought to the cluster.

    Raises:
        narke.exceptions.RuntimeEnvSetupError, TypeError, ValueError: see `normalize` and `publish`.
    """
    here = session.current()
    parent = here.runtime_env if here is not None else {}
    if not runtime_env:
        own_job = here is not None and here.mode == session.SCRIPT_MODE
        return {} if own_job else dict(parent)
    return merge(parent, publish(normalize(runtime_env), _ask))


def _ask(method: str, **body: Any) -> dict[str, Any]:
    return session.native().control(method, body)


def merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """A child's environment over its parent's: ``env_vars`` are united, other fields replaced.

    Of pip, uv and conda the child's replaces the parent's, whichever that is.
    """
    kept = dict(parent)
    if any(child.get(name) for name in _MANAGERS):
        for name in _MANAGERS:
            kept.pop(name, None)
    merged = {**kept, **child}
    variables = {**(parent.get("env_vars") or {}), **(child.get("env_vars") or {})}
    if variables:
        merged["env_vars"] = variables
    return {name: value for name, value in merged.items() if value is not None}


def normalize(runtime_env: Any) -> dict[str, Any]:
    """Check an environment and bring it into a form that travels as JSON.

    Raises:
        TypeError, ValueError: it is malformed.
        narke.exceptions.RuntimeEnvSetupError: a field asks for what this version cannot set up.
    """
    from narke.runtime_env import RuntimeEnv

    env = runtime_env if isinstance(runtime_env, RuntimeEnv) else RuntimeEnv(**_plain(runtime_env))
    fields = env.to_dict()
    _refuse_unavailable(fields)
    hook = fields.get("worker_process_setup_hook")
    if callable(hook):
        from narke._private.serialization import export_pickle

        pickled = export_pickle(hook, "setup hook", getattr(hook, "__qualname__", repr(hook)))
        fields["worker_process_setup_hook"] = {"pickled": base64.b64encode(pickled).decode()}
    if "working_dir" in fields:
        fields["working_dir"] = _place(fields["working_dir"])
    if "py_modules" in fields:
        fields["py_modules"] = [_module_place(entry) for entry in fields["py_modules"]]
    return fields


def _place(entry: Any) -> str:
    """A URI as it is, a path as an absolute one."""
    text = os.fspath(entry)
    return text if "://" in text else os.path.abspath(os.path.expanduser(text))


def _module_place(entry: Any) -> str:
    """Where one entry of ``py_modules`` is: the folder or file that has the module's name."""
    if hasattr(entry, "__path__") or hasattr(entry, "__file__"):
        folder = next(iter(getattr(entry, "__path__", ())), None)
        return os.path.abspath(folder or entry.__file__)
    return _place(entry)


def needs_setup(env: Mapping[str, Any]) -> bool:
    """Whether something has to be made on a node before workers can run in it."""
    from narke.runtime_env import RuntimeEnv

    return any(env.get(name) for name in _MADE) or any(name not in RuntimeEnv.known_fields for name in env)


def text_of(env: Mapping[str, Any]) -> str:
    """An environment as nodes are told of it, "" for none; begins with a mark when it needs setting up."""
    if not env:
        return ""
    text = json.dumps(env, sort_keys=True)
    return '{"_setup": true, ' + text[1:] if needs_setup(env) else text


# ---- local files -------------------------------------------------------------------------------------------

_published: dict[Any, str] = {}  # URIs by what was packed, for the present cluster


def publish(env: Mapping[str, Any], ask: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """The environment with URIs of packages in place of local directories and files, which are brought to the head.

    Args:
        env: its fields, as `normalize` gives them.
        ask: asks the node: a control method's name and its fields.

    Raises:
        ValueError: something cannot be packed, or is refused; the text says what.
    """
    session.on_close(_published.clear)
    out = dict(env)
    excludes = out.pop("excludes", None) or ()
    if out.get("working_dir") and "://" not in out["working_dir"]:
        out["working_dir"] = _publish(out["working_dir"], excludes, False, ask)
    if out.get("py_modules"):
        out["py_modules"] = [
            entry if "://" in entry else _publish(entry, excludes, True, ask) for entry in out["py_modules"]
        ]
    return out


def _publish(path: str, excludes: Iterable[str], as_module: bool, ask: Callable[..., dict[str, Any]]) -> str:
    from narke._private import packages
    from narke._private.runtime_env import packages_link

    key = (as_module, tuple(excludes), packages.fingerprint(path, excludes))
    if key not in _published:
        with tempfile.TemporaryDirectory(prefix="narke-package-") as folder:
            package = packages.package(path, folder, excludes, as_module=as_module)
            _published[key] = packages_link.upload(ask, package, os.path.basename(package))
    return _published[key]


def _plain(runtime_env: Any) -> dict[str, Any]:
    if not isinstance(runtime_env, Mapping):
        raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, got {type(runtime_env)}")
    return dict(runtime_env)


_NEEDED = {
    "container": "a container engine",
    "image_uri": "a container engine",
    "java_jars": "Java",
    "_nsight": "the profiler nsys",
    "_rocprof_sys": "the profiler rocprof-sys",
}


def _refuse_unavailable(fields: Mapping[str, Any]) -> None:
    from narke.exceptions import RuntimeEnvSetupError

    for name in _UNAVAILABLE:
        if fields.get(name):
            raise RuntimeEnvSetupError(
                f"The field {name!r} of runtime_env needs {_NEEDED[name]}, which nodes of this version do not drive. "
                "Run the nodes themselves that way, and use 'pip', 'uv', 'conda', 'working_dir', 'py_modules', "
                "'py_executable' and 'env_vars' for the rest."
            )


# ---- workers -----------------------------------------------------------------------------------------------


def enter(env: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Take on an environment's variables, module path and interpreter. Its working directory is left to the caller.

    Args:
        env: its fields.
        made: what `runtime_env.setup` made for it; {} when nothing was to be made.

    Raises:
        FileNotFoundError: the working directory is gone.
    """
    for name, value in {**(env.get("env_vars") or {}), **made.get("env_vars", {})}.items():
        os.environ[name] = os.path.expandvars(value) if "$" in value else value
    directory = made.get("cwd")
    if directory and not os.path.isdir(directory):
        raise FileNotFoundError(f"the runtime environment's working_dir {directory} does not exist here")
    if made.get("site"):
        at = _first_site()
        sys.path[at:at] = made["site"]
    sys.path[:0] = made.get("sys_path", ())
    if made.get("prefix"):
        _enter_interpreter(made)


def _first_site() -> int:
    """Where the packages of the interpreter begin on the module path."""
    folders = ("site-packages", "dist-packages")
    return next((i for i, entry in enumerate(sys.path) if os.path.basename(entry) in folders), len(sys.path))


def _enter_interpreter(made: Mapping[str, Any]) -> None:
    """Be the virtual environment's interpreter for programs that this process starts."""
    os.environ["VIRTUAL_ENV"] = made["prefix"]
    os.environ["PATH"] = os.path.join(made["prefix"], "bin") + os.pathsep + os.environ.get("PATH", os.defpath)
    if not made.get("is_own"):
        sys.executable = made["python"]
        sys.prefix = sys.exec_prefix = made["prefix"]


def run_path_files(folders: Iterable[str]) -> None:
    """Do what the .pth files among an environment's packages say, as its interpreter would have at its start."""
    import site

    for folder in folders:
        before = list(sys.path)
        site.addsitedir(folder)
        added = [entry for entry in sys.path if entry not in before]
        at = sys.path.index(folder) + 1
        sys.path[:] = [*before[:at], *added, *before[at:]]


def run_hook(hook: Any) -> None:
    """Run an environment's `worker_process_setup_hook`; raises whatever it raises.

    Args:
        hook: a dotted name, or {"pickled": base64}.
    """
    if isinstance(hook, str):
        import importlib

        module, _, name = hook.rpartition(".")
        getattr(importlib.import_module(module), name)()
        return
    import pickle

    pickle.loads(base64.b64decode(hook["pickled"]))()
