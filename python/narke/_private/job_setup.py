"""Prepares the environment of a submitted job; run by its supervisor before the entry point."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["main", "set_up"]


def main() -> None:
    """Read the order from standard input and print what the entry point needs; an error ends it with exit code 1."""
    order = json.load(sys.stdin)
    out = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer
    try:
        answer = set_up(order)
    except Exception as error:  # the edge of this program: the text becomes the job's message
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    with os.fdopen(out, "w", encoding="utf-8") as file:
        json.dump(answer, file)


def set_up(order: dict[str, Any]) -> dict[str, Any]:
    """Make on this machine what a job's runtime environment names.

    Args:
        order: runtime_env, session_dir, submission_id, metadata.

    Returns:
        ``cwd`` and ``env``: variables over those of the job.

    Raises:
        ValueError, OSError, RuntimeError: something cannot be made; the text says what.
        narke.exceptions.RuntimeEnvSetupError: a field asks for what no node of this version sets up.
    """
    from narke._private import runtime_envs
    from narke._private.runtime_env import setup

    env = dict(order["runtime_env"])
    env.pop("excludes", None)
    normal = runtime_envs.normalize(env)
    made = setup.make(normal, order["session_dir"], _refuse_download)
    metadata = {
        "job_name": order["submission_id"],
        **order.get("metadata", {}),
        "job_submission_id": order["submission_id"],
    }
    variables = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": env, "metadata": metadata})}
    variables.update(made.env_vars)
    if made.sys_path:
        variables["PYTHONPATH"] = os.pathsep.join([*made.sys_path, "${PYTHONPATH}"])
    if made.prefix:
        variables["VIRTUAL_ENV"] = made.prefix
        variables["PATH"] = os.path.join(made.prefix, "bin") + os.pathsep + "${PATH}"
    return {"cwd": made.cwd, "env": variables}


def _refuse_download(name: str, to: str) -> None:
    """A job's packages lie in the head's session, where this program runs."""
    raise ValueError(f"the package gcs://{name} was not uploaded, or is gone; submit the job again")
