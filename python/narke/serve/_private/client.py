"""What the API asks of the controller."""

from __future__ import annotations

import time
from typing import Any

import narke
from narke._private import preloads, session
from narke.serve._private import router
from narke.serve._private.common import CONTROLLER_NAME, NAMESPACE
from narke.serve._private.targets import AppTarget

__all__ = ["connect", "controller", "delete_apps", "deploy", "shut_down", "start"]

_DEFAULT_OPTIONS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8000,
    "location": "HeadOnly",
    "num_cpus": 0,
    "root_path": "",
    "request_timeout_s": None,
    "keep_alive_timeout_s": 90,
    "ssl_keyfile": None,
    "ssl_certfile": None,
    "ssl_keyfile_password": None,
    "ssl_ca_certs": None,
    "grpc": None,
    "target_capacity": None,
    "access_log": True,
    "tracing": None,
}
_POLL_S = 0.01
_DELIVERY_S = 5.0
_WAIT_S = 1.0


def controller() -> Any | None:
    """The controller's handle; None where Serve does not run."""
    session.connected()
    try:
        return narke.get_actor(CONTROLLER_NAME, namespace=NAMESPACE)
    except ValueError:
        return None


def connect() -> Any:
    """The controller's handle.

    Raises:
        RayServeException: Serve does not run.
    """
    from narke.serve.exceptions import RayServeException

    found = controller()
    if found is None:
        raise RayServeException(
            "There is no Serve instance running on this Ray cluster: call serve.start() or serve.run()."
        )
    return found


def start(options: dict[str, Any], controller_options: Any = None) -> Any:
    """The controller, made if there is none; waits until the proxies listen.

    Raises:
        RuntimeError: a proxy cannot listen; the text says why.
        ValueError: an option is not right.
    """
    if (root := options.get("root_path") or "") and not root.startswith("/"):
        raise ValueError(f"root_path of http_options must start with a slash, got {root!r}")
    found = controller()
    if found is None:
        from narke.serve._private.controller import Controller

        merged = {**_DEFAULT_OPTIONS, **options}
        env = controller_options.runtime_env if controller_options is not None else None
        made = narke.remote(Controller).options(
            name=CONTROLLER_NAME,
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=0,
            max_restarts=-1,
            max_task_retries=3,
            max_concurrency=15_000,
            get_if_exists=True,
            _preload=preloads.SERVE,
            **({"runtime_env": env} if env else {}),
        )
        found = made.remote(merged)
    try:
        narke.get(found.start.remote())
    except Exception as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, RuntimeError):
            narke.kill(found)
            raise RuntimeError(str(cause)) from None
        raise
    return found


def deploy(apps: list[AppTarget], wait: bool) -> None:
    """Deploy applications.

    Args:
        wait: until they run.

    Raises:
        ValueError: a route prefix is taken.
        RuntimeError: an application failed to deploy; the text has the reason.
    """
    found = connect()
    try:
        narke.get(found.deploy_apps.remote(apps))
    except Exception as error:
        cause = getattr(error, "cause", None)
        raise (cause if isinstance(cause, ValueError) else error) from None
    if wait:
        wait_running([app.name for app in apps])


def wait_running(names: list[str]) -> None:
    """Until the applications run.

    Raises:
        RuntimeError: one failed to deploy.
    """
    found = connect()
    ends = time.monotonic() + _DELIVERY_S
    while True:
        status_now = narke.get(found.settled.remote(names, _WAIT_S))
        applications = status_now["applications"]
        for name in names:
            status = applications.get(name)
            if status is None:
                raise RuntimeError(f"Application {name} was deleted while it was being deployed.")
            if status["status"] == "DEPLOY_FAILED":
                raise RuntimeError(f"Deploying application {name} failed: {status['message']}")
        if any(applications[name]["status"] != "RUNNING" for name in names):
            ends = time.monotonic() + _DELIVERY_S
        elif _is_delivered(status_now, ends):
            # this process's handles too: the first call of a handle may go to any of the replicas
            router.await_table(status_now["table_version"], _DELIVERY_S)
            return


def _is_delivered(status_now: dict[str, Any], ends: float) -> bool:
    """Whether all proxies have the present routes; one that is away longer than to `ends` gets them when it is back."""
    return bool(status_now["routes_delivered"]) or time.monotonic() > ends


def delete_apps(names: list[str], wait: bool) -> None:
    """Take applications down; with `wait`, until nothing of them is left."""
    found = connect()
    narke.get(found.delete_apps.remote(names))
    ends = time.monotonic() + _DELIVERY_S
    while wait:
        status_now = narke.get(found.settled.remote(names, _WAIT_S))
        if any(name in status_now["applications"] for name in names):
            ends = time.monotonic() + _DELIVERY_S
        elif _is_delivered(status_now, ends):
            return


def shut_down() -> None:
    """End Serve on the cluster; nothing happens where it does not run."""
    found = controller()
    if found is None:
        return
    narke.get(found.shut_down.remote())
    narke.kill(found)
    while controller() is not None:
        time.sleep(_POLL_S)
