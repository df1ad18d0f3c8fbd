"""What a worker is made of before it takes calls: prepared in the zygote for a job and an environment, not per worker.

A forked worker runs almost no Python until its first call (see bindings/birth.h): the zygote has the job's variables,
module path and session already when it forks.
"""

from __future__ import annotations

import functools
import glob
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from narke._private import branch, execution, runtime_envs, session, tracing

__all__ = ["prepare", "replace_hot_functions", "undress"]


class _Origin:
    """This process as it was before it was prepared for a job."""

    def __init__(self) -> None:
        self._variables = dict(os.environ)
        self._path = list(sys.path)
        self._interpreter = (sys.executable, sys.prefix, sys.exec_prefix)

    def restore(self) -> None:
        for name in [name for name in os.environ if name not in self._variables]:
            del os.environ[name]
        for name, value in self._variables.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
        sys.path[:] = self._path
        sys.executable, sys.prefix, sys.exec_prefix = self._interpreter


@functools.cache
def _origin() -> _Origin:
    return _Origin()


def undress(*, anew: bool = False) -> None:
    """Be no job's any more.

    Args:
        anew: what this process is now is what it is between jobs.
    """
    if anew:
        _origin.cache_clear()
    _origin().restore()


def prepare(config: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Make this process, the zygote, what workers of a job in an environment are to be when they are forked.

    Nothing of the user's runs here, and what was prepared before is undone.

    Args:
        config: the node's description: node_socket, session_dir, token_path, env, cwd, sys_path, runtime_env, and
            environment: what was made for it (`runtime_env.setup.Made.context`).
        job: what the driver said of the job.

    Returns:
        node_socket, token, session_dir, cwd; session; set_up: what is left to be called in the worker, or None;
        has_accelerators: whether leases change what CUDA_VISIBLE_DEVICES says.

    Raises:
        OSError: the token, or the environment's working directory, cannot be read.
        narke._private.branch.Unfit: this is a branch of the zygote that must not fork this job's workers.
    """
    _origin().restore()
    os.environ.update(config.get("env") or {})
    _look_for_modules(config.get("sys_path") or [])
    env = runtime_envs.merge(job.get("runtime_env") or {}, _own_env(config))
    made = json.loads(config.get("environment") or "{}")
    # Programs that a task starts join this cluster unless they are told otherwise.
    address = (job.get("address_info") or {}).get("address")
    if address:
        os.environ.setdefault("RAY_ADDRESS", address)
    here = _session(config, job, env)
    session.open_session(here)
    runtime_envs.enter(env, made)
    set_up = _set_up(job, env, made)
    branch.check_job(sys.path, dict(os.environ))
    return {
        "node_socket": config["node_socket"],
        "token": _token(config["token_path"]),
        "session_dir": config["session_dir"],
        "cwd": made.get("cwd") or config.get("cwd"),
        "session": here,
        "set_up": set_up,
        # What runs in a worker before its first call may change the variables.
        "has_accelerators": execution.note_accelerators() or set_up is not None,
    }


def _own_env(config: dict[str, Any]) -> dict[str, Any]:
    env = json.loads(config.get("runtime_env") or "{}")
    env.pop("_setup", None)
    return env


def _token(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read().strip()


def _look_for_modules(sys_path: list[str]) -> None:
    """Look for modules where the driver does."""
    known = set(sys_path)
    sys.path[:] = [*sys_path, *(entry for entry in sys.path if entry not in known)]


def _session(config: dict[str, Any], job: dict[str, Any], env: dict[str, Any]) -> session.Session:
    return session.Session(
        mode=session.WORKER_MODE,
        info={"session_dir": config["session_dir"], "job_config": job},
        namespace=job.get("namespace", ""),
        runtime_env=env,
        job_config=_job_config(job),
        address_info=job.get("address_info") or {},
    )


def _job_config(job: dict[str, Any]) -> Any:
    from narke.job_config import JobConfig

    config = JobConfig(metadata=job.get("metadata") or {}, ray_namespace=job.get("namespace"))
    config.set_default_actor_lifetime(job.get("default_actor_lifetime") or "non_detached")
    return config


def _set_up(job: dict[str, Any], env: dict[str, Any], made: dict[str, Any]) -> Callable[[], None] | None:
    """What cannot be undone, or is the user's own: done in each worker."""
    steps: list[Callable[[], None]] = []
    if any(glob.glob(os.path.join(glob.escape(folder), "*.pth")) for folder in made.get("site", ())):
        steps.append(functools.partial(runtime_envs.run_path_files, made["site"]))
    if job.get("as_ray") or os.environ.get("NARKE_AS_RAY") == "1":
        os.environ["NARKE_AS_RAY"] = "1"
        if "ray" not in sys.modules:
            steps.append(_serve_ray)
    if job.get("logging_config"):
        steps.append(functools.partial(_apply_logging, job["logging_config"]))
    if job.get("tracing_startup_hook"):
        steps.append(functools.partial(tracing.enable, job["tracing_startup_hook"]))
    if env.get("worker_process_setup_hook"):
        steps.append(functools.partial(runtime_envs.run_hook, env["worker_process_setup_hook"]))
    return functools.partial(_run, steps) if steps else None


def _run(steps: list[Callable[[], None]]) -> None:
    for step in steps:
        step()


def _serve_ray() -> None:
    from narke import _alias

    _alias.install()


def _apply_logging(config: dict[str, Any]) -> None:
    from narke._private.logging_config import LoggingConfig

    LoggingConfig.from_dict(config)._apply()


def replace_hot_functions() -> None:
    """Put the extension's own get, put and wait in place of the package's stand-ins."""
    import narke
    from narke import _native

    for name in ("get", "put", "wait"):
        setattr(narke, name, getattr(_native, name))
