"""What a forked worker runs: it becomes part of a job, then executes what the engine brings."""

from __future__ import annotations

import os
import random
import sys
from typing import Any

from narke._private import process, runtime_envs, session

__all__ = ["main"]


def main(config: dict[str, Any]) -> int:
    """Be a worker.

    Args:
        config: the node's description: node_socket, session_dir, token_path, stdout, stderr, env, cwd, sys_path,
            runtime_env, worker.

    Returns:
        the process's exit status.
    """
    process.redirect_output(config.get("stdout", ""), config.get("stderr", ""))
    process.set_title("narke::idle")
    _fresh_randomness()
    os.environ.update(config.get("env") or {})
    enter(config.get("sys_path"), config.get("cwd"))
    from narke import _native

    info = _native.connect_worker({**config, "token": _token(config)})
    _join(config, info)
    _native.run_worker()
    return 0


def _token(config: dict[str, Any]) -> bytes:
    with open(config["token_path"], "rb") as file:
        return file.read().strip()


def _fresh_randomness() -> None:
    random.seed()
    numpy = sys.modules.get("numpy")
    if numpy is not None and hasattr(numpy, "random"):
        numpy.random.seed()


def enter(sys_path: list[str] | None, cwd: str | None) -> None:
    """Look for modules where the driver does, and work in its directory; what does not exist here is left out."""
    if sys_path:
        known = set(sys_path)
        sys.path[:] = [*sys_path, *(entry for entry in sys.path if entry not in known)]
    if cwd and os.path.isdir(cwd):
        os.chdir(cwd)


def _join(config: dict[str, Any], info: dict[str, Any]) -> None:
    import json

    job = info.get("job_config") or {}
    enter(job.get("sys_path"), job.get("cwd"))
    own_env = json.loads(config.get("runtime_env") or "{}")
    env = runtime_envs.merge(job.get("runtime_env") or {}, own_env)
    if job.get("as_ray") or os.environ.get("NARKE_AS_RAY") == "1":
        os.environ["NARKE_AS_RAY"] = "1"
        from narke import _alias

        _alias.install()
    # Programs that a task starts join this cluster unless they are told otherwise.
    address = (job.get("address_info") or {}).get("address")
    if address:
        os.environ.setdefault("RAY_ADDRESS", address)
    session.open_session(
        session.Session(
            mode=session.WORKER_MODE,
            info=info,
            namespace=job.get("namespace", ""),
            runtime_env=env,
            job_config=_job_config(job),
            address_info=job.get("address_info") or {},
        )
    )
    replace_hot_functions()
    if job.get("logging_config"):
        from narke._private.logging_config import LoggingConfig

        LoggingConfig.from_dict(job["logging_config"])._apply()
    runtime_envs.apply(env)


def _job_config(job: dict[str, Any]) -> Any:
    from narke.job_config import JobConfig

    config = JobConfig(metadata=job.get("metadata") or {}, ray_namespace=job.get("namespace"))
    config.set_default_actor_lifetime(job.get("default_actor_lifetime") or "non_detached")
    return config


def replace_hot_functions() -> None:
    """Put the extension's own get, put and wait in place of the package's stand-ins."""
    import narke
    from narke import _native

    for name in ("get", "put", "wait"):
        setattr(narke, name, getattr(_native, name))
