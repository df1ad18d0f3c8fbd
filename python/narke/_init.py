"""`init` and `shutdown`: connecting this program to a cluster, and starting one when there is none."""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from typing import Any

from narke._private import init_options, outside, session, sessions_dir, tracing

__all__ = ["auto_init", "init", "is_initialized", "shutdown"]

_FIRST_WORKER_S = 1.0
_FIRST_WORKER_LOOK_S = 0.004
_hooks_installed = False
_ENV_HOOK = "RAY_RUNTIME_ENV_HOOK"
_env_address = ("NARKE_ADDRESS", "RAY_ADDRESS")


def init(
    address: str | None = None,
    *,
    num_cpus: float | None = None,
    num_gpus: float | None = None,
    resources: dict[str, float] | None = None,
    labels: dict[str, str] | None = None,
    object_store_memory: int | None = None,
    local_mode: bool = False,
    ignore_reinit_error: bool = False,
    include_dashboard: bool | None = None,
    dashboard_host: str = "127.0.0.1",
    dashboard_port: int | None = None,
    job_config: Any = None,
    configure_logging: bool = True,
    logging_level: int | str = "info",
    logging_format: str | None = None,
    logging_config: Any = None,
    log_to_driver: bool | None = None,
    namespace: str | None = None,
    runtime_env: Any = None,
    enable_resource_isolation: bool = False,
    cgroup_path: str | None = None,
    system_reserved_cpu: float | None = None,
    system_reserved_memory: int | None = None,
    proxy_server_url: str | None = None,
    **kwargs: Any,
) -> Any:
    """Connect to a cluster, starting one on this machine when there is none to join.

    Args:
        address: None joins the cluster named by RAY_ADDRESS or made by ``narke start`` and starts one otherwise;
            ``"auto"`` joins or fails; ``"local"`` always starts; ``"narke://host:port"`` or ``"ray://host:port"``
            also reaches a cluster from a machine that can reach nothing but that port; else the cluster's address.
        num_cpus: CPUs the new node offers; as many as this process may use by default.
        num_gpus: GPUs it offers.
        resources: further resources by name.
        labels: labels of the new node.
        object_store_memory: bytes of its object store; 30 % of the memory by default.
        local_mode: no longer possible; True raises RuntimeError, as in Ray.
        ignore_reinit_error: return the present context when connected already.
        include_dashboard, dashboard_host, dashboard_port: the dashboard of the new cluster.
        job_config: a `narke.job_config.JobConfig`.
        configure_logging: set up Python logging as the next three say.
        logging_level: a level's name or number.
        logging_format: format of log records.
        logging_config: a `narke.LoggingConfig` for driver and workers; RAY_LOGGING_CONFIG_ENCODING names only the
            encoding.
        log_to_driver: show here what workers print; default True.
        namespace: where named actors of this program live; a name of its own by default.
        runtime_env: environment of the job's tasks and actors: a dict or `narke.runtime_env.RuntimeEnv`.
        enable_resource_isolation, cgroup_path, system_reserved_cpu, system_reserved_memory: accepted; workers are
            contained as the machine allows anyway.
        proxy_server_url: accepted; no proxy is needed.
        kwargs: ``_temp_dir`` (folder for sessions), ``_token`` (the cluster's, for ``narke://``), ``_memory``,
            ``_node_ip_address``, ``object_spilling_directory``, ``_system_config`` (its ``object_spilling_config``
            counts) and others. Objects leave memory for a folder, or, by a URI or ``smart_open``, for storage that all
            nodes reach, from where other nodes read them when one is lost.

    Returns:
        a `RayContext`: the connection's facts, and a context manager that disconnects.

    Raises:
        TypeError, ValueError: a parameter is wrong; it is named.
        RuntimeError: connected already, a keyword is unknown, or the node did not start.
        ConnectionError: the cluster is not there, or refuses this program; the text says why.
        narke.exceptions.AuthenticationError: the token of a cluster that is to be dialled is not known.
    """
    options = dict(locals())
    with session.lock:
        here = session.current()
        if here is not None:
            return _again(here, ignore_reinit_error)
        _forget_parents_connection()
        options["logging_config"] = options["logging_config"] or _asked_logging()
        init_options.check_init(options)
        return _connect(options)


def _asked_logging() -> Any:
    """The configuration that RAY_LOGGING_CONFIG_ENCODING (TEXT or JSON) asks for; None without it."""
    encoding = os.environ.get("RAY_LOGGING_CONFIG_ENCODING")
    if not encoding:
        return None
    from narke._private.logging_config import LoggingConfig

    return LoggingConfig(encoding)


def _again(here: session.Session, ignore: bool) -> Any:
    if not ignore:
        raise RuntimeError(
            "Maybe you called ray.init twice by accident? This error can be suppressed by passing in "
            "'ignore_reinit_error=True' or by calling 'ray.shutdown()' prior to 'ray.init()'."
        )
    from narke._private.context import RayContext

    return RayContext(here.address_info)


def _connect(options: dict[str, Any]) -> Any:
    from narke._private.context import RayContext

    job = _job_of(options)
    target = _find_cluster(options)
    node = None
    if isinstance(target, outside.Outside):
        init_options.refuse_orders(options, target.host_port)
        node, target = outside.start_node(target, options["kwargs"], _load_engine)
    elif target is None:
        node, target = _start_local(options)
    else:
        init_options.refuse_orders(options, target)
    try:
        here = _join(target, options, job, node)
    except BaseException:
        if node is not None:
            node.stop(wait=True)
        raise
    if node is not None and node.options.grace_ms is None and not _setup_of(job.plain_runtime_env):
        _await_first_worker()
    if (preloads := sys.modules.get("narke._private.preloads")) is not None:  # a library was imported before
        preloads.announce()
    _configure_logging(options)
    _install_hooks()
    return RayContext(here.address_info)


def _await_first_worker() -> None:
    """Let a cluster that was just started get its first worker ready, so that the first call is as fast as the others.

    A node without CPUs starts none; nothing is lost when the deadline passes.
    """
    native = session.native()
    if not native.control("cluster_resources")["resources"].get("CPU"):
        return
    deadline = time.monotonic() + _FIRST_WORKER_S
    while time.monotonic() < deadline:
        if any(worker["state"] == "IDLE" for worker in native.control("list_workers")["workers"]):
            return
        time.sleep(_FIRST_WORKER_LOOK_S)


def _job_of(options: dict[str, Any]) -> Any:
    """The job's configuration, from `job_config` and the parameters that override it."""
    from narke._private import runtime_envs
    from narke.job_config import JobConfig

    given = options["job_config"]
    if isinstance(given, dict):
        given = JobConfig(**given)
    job = given or JobConfig()
    if not isinstance(job, JobConfig):
        raise TypeError(f"job_config must be a JobConfig, got {type(job)}")
    if options["runtime_env"] is not None:
        job.set_runtime_env(options["runtime_env"])
    if os.environ.get(_ENV_HOOK):
        job.set_runtime_env(_hooked(job.runtime_env))
    if options["namespace"]:
        job.set_ray_namespace(options["namespace"])
    if options["logging_config"] is not None:
        job.set_py_logging_config(options["logging_config"])
    _take_submission(job)
    job.plain_runtime_env = runtime_envs.normalize(job.runtime_env) if job.runtime_env else {}
    return job


def _hooked(runtime_env: Any) -> Any:
    """The environment that the function of RAY_RUNTIME_ENV_HOOK (``module.function``) makes of this one."""
    import importlib

    module, _, name = os.environ[_ENV_HOOK].rpartition(".")
    return getattr(importlib.import_module(module), name)(dict(runtime_env or {}))


def _take_submission(job: Any) -> None:
    """Add what this program was submitted with, if it is a submitted job's.

    Raises:
        ValueError: the program asks for another environment than it was submitted with.
    """
    text = os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR")
    if not text:
        return
    import json

    submitted = json.loads(text)
    job.metadata = {**submitted.get("metadata", {}), **job.metadata}
    given, own = submitted.get("runtime_env") or {}, dict(job.runtime_env or {})
    clashes = [] if os.environ.get("RAY_OVERRIDE_JOB_RUNTIME_ENV") == "1" else _clashes(given, own)
    if clashes:
        raise ValueError(
            f"Failed to merge the Job's runtime env {given} with a ray.init's runtime env {own} because of a conflict "
            f"in {', '.join(clashes)}. Specifying the same runtime_env fields or the same environment variable keys "
            "is not allowed; set RAY_OVERRIDE_JOB_RUNTIME_ENV=1 to let the program's own win."
        )
    if given or own:
        from narke._private import runtime_envs

        job.set_runtime_env(runtime_envs.merge(given, own))


def _clashes(given: dict[str, Any], own: dict[str, Any]) -> list[str]:
    """The fields, and the variables, that two environments set differently."""
    fields = [name for name in given.keys() & own.keys() if name != "env_vars" and given[name] != own[name]]
    first, second = given.get("env_vars") or {}, own.get("env_vars") or {}
    return sorted(fields) + sorted(
        name for name in first.keys() & second.keys() if first[name] != second[name]
    )


# ---- where to connect --------------------------------------------------------------------------------------


def _find_cluster(options: dict[str, Any]) -> str | outside.Outside | None:
    """The session folder of the cluster to join, or where to dial it; None to start one.

    Raises:
        ConnectionError: a cluster is asked for and not there.
    """
    address = options["address"]
    from_env = next((os.environ[name] for name in _env_address if os.environ.get(name)), None)
    base = sessions_dir.base_dir(options["kwargs"].get("_temp_dir"))
    if address == "local" or (address is None and from_env == "local"):
        return None
    wanted = from_env if address in (None, "auto") and from_env not in (None, "auto") else address
    if wanted is None and from_env is None:
        return _latest_unless_ordered(base, options)
    if wanted in (None, "auto"):
        return _newest_or_fail(base)
    return _by_scheme(base, wanted) or _by_address(base, wanted)


def _latest_unless_ordered(base: str, options: dict[str, Any]) -> str | None:
    found = sessions_dir.latest(base)
    if found and any(options[name] is not None for name in ("num_cpus", "num_gpus", "resources")):
        init_options.refuse_orders(options, found)
    return found


def _newest_or_fail(base: str) -> str:
    found = sessions_dir.newest(base)
    if found is None:
        raise ConnectionError(
            "Could not find any running Ray instance. Please specify the one to connect to by setting `--address` "
            "flag or `RAY_ADDRESS` environment variable, or start one with `narke start --head`."
        )
    return found


def _by_scheme(base: str, address: str) -> str | outside.Outside | None:
    """What ``narke://`` or ``ray://`` names: a cluster of this host if it is one, else one to be dialled."""
    far = outside.address_of(address) if not os.path.isabs(address.partition("://")[2]) else None
    if far is None:
        return None
    found = sessions_dir.find_by_address(base, far.host_port)
    own_names = {
        "localhost",
        "127.0.0.1",
        "[::1]",
        sessions_dir.read_info(found).get("ip") if found else None,
    }
    return found if found and far.host_port.rpartition(":")[0] in own_names else far


def _by_address(base: str, address: str) -> str:
    plain = address.removeprefix("ray://").removeprefix("narke://")
    if os.path.isabs(plain) and os.path.isdir(plain):
        return plain
    found = sessions_dir.find_by_address(base, plain)
    if found is None:
        raise ConnectionError(
            f"No running cluster of this machine has the address {address!r}. Sessions are looked for in {base}; "
            "`narke status` lists those that run, and init(address='local') starts one."
        )
    return found


# ---- starting ----------------------------------------------------------------------------------------------


def _start_local(options: dict[str, Any]) -> tuple[Any, str]:
    from narke._private import machine, node_process

    hidden = options["kwargs"]
    ip = hidden.get("_node_ip_address") or machine.own_address()
    session_dir = sessions_dir.create_session(sessions_dir.base_dir(hidden.get("_temp_dir")))
    shape = init_options.node_shape(
        num_cpus=options["num_cpus"],
        num_gpus=options["num_gpus"],
        resources=options["resources"],
        labels=options["labels"],
        object_store_memory=options["object_store_memory"],
        memory=hidden.get("_memory"),
        ip=ip,
        is_head=True,
    )
    node = node_process.start_node(
        node_process.NodeOptions(
            session_dir=session_dir,
            resources=shape.resources,
            object_store_bytes=shape.object_store_bytes,
            labels=shape.labels,
            owner_pid=os.getpid(),
            address=ip,
            dashboard=_dashboard(options),
            **init_options.spill_options(hidden, session_dir),
        ),
        meanwhile=_load_engine,
    )
    sessions_dir.publish(session_dir, ip, **node.dashboard_info())
    return node, session_dir


def _dashboard(options: dict[str, Any]) -> Any:
    """Where the new cluster serves HTTP; the gateway starts with the first request: nobody pays for it before."""
    from narke._private.node_process import DashboardOptions

    if options["include_dashboard"] is False:
        return None
    metrics_port = options["kwargs"].get("_metrics_export_port") or 0
    return DashboardOptions(options["dashboard_host"], options["dashboard_port"], metrics_port)


def _load_engine() -> None:
    """Import what the first calls need."""
    from narke import _native  # noqa: F401
    from narke._private import log_view, serialization, worker_main  # noqa: F401


def _join(session_dir: str, options: dict[str, Any], job: Any, node: Any) -> session.Session:
    from narke import _native
    from narke._private import log_view, worker_main

    namespace = job.ray_namespace or _random_namespace()
    _publish_environment(job, session_dir)
    tracing.switch(options["kwargs"].get("_tracing_startup_hook"))
    info = _native.connect_driver(
        sessions_dir.socket_path(session_dir),
        sessions_dir.token_of(session_dir),
        session_dir,
        _driver_config(options, job, namespace, session_dir),
    )
    here = session.Session(
        mode=session.SCRIPT_MODE,
        info=info,
        namespace=namespace,
        runtime_env=job.plain_runtime_env,
        job_config=job,
        address_info=_address_info(session_dir, info),
        node=node,
    )
    session.open_session(here)
    worker_main.replace_hot_functions()
    if options["log_to_driver"] is not False:
        here.log_printer = log_view.start_printer(_native)
    return here


def _publish_environment(job: Any, session_dir: str) -> None:
    """Bring the local files of the job's environment to the cluster, before the job begins with it."""
    from narke import _native
    from narke._private import observer, runtime_envs

    places = [job.plain_runtime_env.get("working_dir"), *(job.plain_runtime_env.get("py_modules") or ())]
    if not any(place and "://" not in place for place in places):
        return
    with observer.observing(session_dir):
        job.plain_runtime_env = runtime_envs.publish(
            job.plain_runtime_env, lambda method, **body: _native.control(method, body)
        )


def _random_namespace() -> str:
    digits = os.urandom(16).hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _driver_config(options: dict[str, Any], job: Any, namespace: str, session_dir: str) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "entrypoint": " ".join(sys.orig_argv),
        "sys_path": [os.path.abspath(entry) if entry else os.getcwd() for entry in sys.path],
        "cwd": os.getcwd(),
        "runtime_env": job.plain_runtime_env,
        **_setup_of(job.plain_runtime_env),
        "log_to_driver": options["log_to_driver"] is not False,
        "metadata": dict(job.metadata),
        "cap": init_options.cap_of(job.metadata),
        "default_actor_lifetime": job._default_actor_lifetime,
        "as_ray": os.environ.get("NARKE_AS_RAY") == "1" or "ray" in sys.modules,
        "address_info": _address_info(session_dir, {}),
        "tracing_startup_hook": options["kwargs"].get("_tracing_startup_hook"),
        "logging_config": job.py_logging_config.to_dict() if job.py_logging_config else None,
    }


def _setup_of(env: dict[str, Any]) -> dict[str, Any]:
    """What the node must know of an environment that it has to set up."""
    from narke._private import runtime_envs

    if not runtime_envs.needs_setup(env):
        return {}
    is_lazy = (env.get("config") or {}).get("eager_install") is False
    return {"environment": runtime_envs.text_of(env), "lazy_environment": is_lazy}


def _address_info(session_dir: str, info: dict[str, Any]) -> dict[str, Any]:
    """What `RayContext.address_info` shows of a session."""
    known = sessions_dir.read_info(session_dir)
    address = known.get("address") or known.get("outside_of") or session_dir
    return {
        "node_ip_address": known.get("ip", "127.0.0.1"),
        "redis_address": None,
        "object_store_address": sessions_dir.socket_path(session_dir),
        "raylet_socket_name": sessions_dir.socket_path(session_dir),
        "webui_url": known.get("dashboard_url", ""),
        "session_dir": session_dir,
        "metrics_export_port": known.get("metrics_port"),
        "gcs_address": address,
        "address": address,
        "dashboard_agent_listen_port": known.get("dashboard_port"),
        "node_id": info["node_id"].hex() if info.get("node_id") else None,
    }


def auto_init() -> None:
    """Connect with the defaults, because something needs a cluster.

    Raises:
        RaySystemError: automatic connecting is switched off with RAY_ENABLE_AUTO_CONNECT=0, or the thread is one of
            Narke's own, which outlived its session.
    """
    if os.environ.get("RAY_ENABLE_AUTO_CONNECT", "1") == "0" or session.is_in_background():
        from narke.exceptions import RaySystemError

        raise RaySystemError("Ray has not been started yet. You can start Ray with 'ray.init()'.")
    with session.lock:
        if session.current() is None:
            init()


# ---- leaving -----------------------------------------------------------------------------------------------


def is_initialized() -> bool:
    """Whether this program is connected to a cluster."""
    return session.current() is not None


def shutdown(*, wait_for_processes: bool = False, _exiting_interpreter: bool = False) -> None:
    """Disconnect, and end the cluster if this program started it. Harmless when not connected.

    Args:
        wait_for_processes: return only when the processes of a cluster started here are gone.
    """
    with session.lock:
        here = session.current()
        if here is None:
            return
        _restore_stand_ins()
        from narke import _native

        try:
            _native.disconnect()
        finally:
            session.close()
            if here.log_printer is not None:
                here.log_printer.stop()
            if here.node is not None:
                sessions_dir.remove_address(here.info.get("session_dir") or here.address_info["session_dir"])
                here.node.stop(wait=wait_for_processes or not _exiting_interpreter)


def _restore_stand_ins() -> None:
    import narke

    narke.get, narke.put, narke.wait = narke._get, narke._put, narke._wait


def _forget_parents_connection() -> None:
    """In a forked child, drop what belongs to the parent; its sockets are not ours to close properly."""
    native = sys.modules.get("narke._native")
    if native is not None and native.is_connected():
        native.forget_connection()


def _install_hooks() -> None:
    global _hooks_installed
    if _hooks_installed:
        return
    _hooks_installed = True
    atexit.register(shutdown, wait_for_processes=False, _exiting_interpreter=True)
    os.register_at_fork(after_in_child=_after_fork)
    in_main = threading.current_thread() is threading.main_thread()
    if in_main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _on_terminate)


def _after_fork() -> None:
    _restore_stand_ins()


def _on_terminate(_signal: int, _frame: Any) -> None:
    sys.exit(128 + signal.SIGTERM)


def _configure_logging(options: dict[str, Any]) -> None:
    if not options["configure_logging"]:
        return
    config = options["logging_config"]
    if config is not None:
        config._apply()
        return
    import logging

    logger = logging.getLogger("narke")
    level = options["logging_level"]
    logger.setLevel(level.upper() if isinstance(level, str) else level)
    if not logger.handlers and not logging.getLogger().handlers:
        handler = logging.StreamHandler()
        text = (
            options["logging_format"] or "%(asctime)s\t%(levelname)s %(filename)s:%(lineno)s -- %(message)s"
        )
        handler.setFormatter(logging.Formatter(text))
        logger.addHandler(handler)
        logger.propagate = False
