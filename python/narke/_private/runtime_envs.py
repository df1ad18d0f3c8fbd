"""Runtime environments: what a task, an actor or a job needs around it, merged, checked and entered."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Mapping
from typing import Any

__all__ = ["enter", "inherit", "merge", "normalize", "run_hook"]

_LIST_FIELDS = ("py_modules",)


def inherit(runtime_env: Any) -> dict[str, Any]:
    """The environment of something this program submits: its own over the program's; {} when nothing is added.

    Raises:
        narke.exceptions.RuntimeEnvSetupError, TypeError, ValueError: see `normalize`.
    """
    from narke._private import session

    here = session.current()
    parent = here.runtime_env if here is not None else {}
    if not runtime_env:
        own_job = here is not None and here.mode == session.SCRIPT_MODE
        return {} if own_job else dict(parent)
    return merge(parent, normalize(runtime_env))


def merge(parent: Mapping[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """A child's environment over its parent's: ``env_vars`` are united, other fields replaced."""
    merged = {**parent, **child}
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
        fields["working_dir"] = _local_dir(fields["working_dir"], "working_dir")
    if "py_modules" in fields:
        fields["py_modules"] = [_module_dir(entry) for entry in fields["py_modules"]]
    return fields


def _plain(runtime_env: Any) -> dict[str, Any]:
    if not isinstance(runtime_env, Mapping):
        raise TypeError(f"runtime_env must be a dict or a RuntimeEnv, got {type(runtime_env)}")
    return dict(runtime_env)


_UNAVAILABLE = ("pip", "uv", "conda", "container", "image_uri", "java_jars", "_nsight", "_rocprof_sys")


def _refuse_unavailable(fields: Mapping[str, Any]) -> None:
    from narke.exceptions import RuntimeEnvSetupError

    for name in _UNAVAILABLE:
        if fields.get(name):
            raise RuntimeEnvSetupError(
                f"The field {name!r} needs an environment manager, which this version does not have. Install what the "
                "program needs beforehand, and use 'env_vars', 'working_dir' and 'py_modules'."
            )


def _local_dir(path: Any, field: str) -> str:
    from narke.exceptions import RuntimeEnvSetupError

    text = os.path.abspath(os.path.expanduser(str(path)))
    if "://" in str(path):
        raise RuntimeEnvSetupError(f"{field}: {path!r} is remote; this version takes local directories only")
    if not os.path.isdir(text):
        raise ValueError(f"{field} {str(path)!r} is not a directory that exists ({text})")
    return text


def _module_dir(entry: Any) -> str:
    """The folder to put on the path so that one entry of ``py_modules`` can be imported."""
    if hasattr(entry, "__path__") or hasattr(entry, "__file__"):
        location = next(iter(getattr(entry, "__path__", ())), None) or entry.__file__
        return os.path.dirname(os.path.abspath(location))
    text = os.path.abspath(os.path.expanduser(str(entry)))
    if text.endswith(".py") and os.path.isfile(text):
        return os.path.dirname(text)
    folder = _local_dir(entry, "py_modules")
    return os.path.dirname(folder) if os.path.exists(os.path.join(folder, "__init__.py")) else folder


def enter(env: Mapping[str, Any]) -> None:
    """Take on an environment's variables and module path. Its working directory is left to the caller.

    Raises:
        FileNotFoundError: the working directory is gone.
    """
    for name, value in (env.get("env_vars") or {}).items():
        os.environ[name] = os.path.expandvars(value) if "$" in value else value
    for folder in reversed(env.get("py_modules") or ()):
        sys.path.insert(0, folder)
    directory = env.get("working_dir")
    if directory:
        if not os.path.isdir(directory):
            raise FileNotFoundError(f"the runtime environment's working_dir {directory} does not exist here")
        sys.path.insert(0, directory)


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
