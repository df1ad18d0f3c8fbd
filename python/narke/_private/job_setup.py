"""Prepares the environment of a submitted job; run by its supervisor before the entry point."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import tempfile
import urllib.parse
from typing import Any

from narke._private import packages

__all__ = ["main", "set_up"]


def main() -> None:
    """Read the order from standard input and print what the entry point needs; an error ends it with exit code 1."""
    order = json.load(sys.stdin)
    try:
        answer = set_up(order)
    except Exception as error:  # the edge of this program: the text becomes the job's message
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    json.dump(answer, sys.stdout)


def set_up(order: dict[str, Any]) -> dict[str, Any]:
    """Bring what a runtime environment names to this machine.

    Args:
        order: runtime_env, session_dir, submission_id, metadata.

    Returns:
        ``cwd`` and ``env``: variables over those of the job.

    Raises:
        ValueError, OSError: something cannot be brought.
        narke.exceptions.RuntimeEnvSetupError: a field asks for what this version cannot set up.
    """
    from narke._private import runtime_envs

    env = dict(order["runtime_env"])
    store = os.path.join(order["session_dir"], "runtime_resources")
    path: list[str] = []
    cwd = ""
    if env.get("working_dir"):
        cwd = env["working_dir"] = _bring(env["working_dir"], order["session_dir"], store)
        path.append(cwd)
    if env.get("py_modules"):
        env["py_modules"] = [_bring(uri, order["session_dir"], store) for uri in env["py_modules"]]
        path += env["py_modules"]
    env.pop("excludes", None)
    runtime_envs.normalize(env)
    metadata = {
        "job_name": order["submission_id"],
        **order.get("metadata", {}),
        "job_submission_id": order["submission_id"],
    }
    variables = {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps({"runtime_env": env, "metadata": metadata})}
    if path:
        variables["PYTHONPATH"] = os.pathsep.join([*path, "${PYTHONPATH}"])
    return {"cwd": cwd, "env": variables}


def _bring(uri: str, session_dir: str, store: str) -> str:
    """The local folder of what a URI names."""
    parts = urllib.parse.urlsplit(uri)
    if not parts.scheme:
        folder = os.path.abspath(os.path.expanduser(uri))
        if not os.path.isdir(folder):
            raise ValueError(
                f"{uri!r} is not a directory of the cluster's machine; give a local one to the client"
            )
        return folder
    name = parts.netloc if parts.scheme == "gcs" else hashlib.sha256(uri.encode()).hexdigest()[:32]
    target = os.path.join(store, os.path.basename(name).removesuffix(".zip"))
    if parts.scheme == "gcs":
        package = os.path.join(session_dir, "packages", os.path.basename(parts.netloc))
        if not os.path.isfile(package):
            raise ValueError(f"the package {uri} was not uploaded, or is gone; submit the job again")
        return packages.unpack(package, target)
    if os.path.isdir(target):
        return target
    os.makedirs(store, mode=0o700, exist_ok=True)
    handle, draft = tempfile.mkstemp(suffix=".zip", dir=store)
    os.close(handle)
    try:
        _download(uri, parts, draft)
        return packages.unpack(draft, target, strip_single_folder=True)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(draft)


def _download(uri: str, parts: urllib.parse.SplitResult, to: str) -> None:
    import shutil

    if not parts.path.endswith((".zip", ".whl", ".jar")):
        raise ValueError(f"{uri!r}: a remote URI must name a .zip file")
    if parts.scheme == "file":
        shutil.copyfile(parts.path, to)
        return
    if parts.scheme in ("http", "https"):
        import urllib.request

        with urllib.request.urlopen(uri, timeout=60) as source, open(to, "wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
        return
    try:
        import fsspec  # type: ignore[import-untyped]
    except ImportError as error:
        raise ValueError(f"{uri!r} needs the package fsspec on the cluster") from error
    with fsspec.open(uri, "rb") as source, open(to, "wb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
