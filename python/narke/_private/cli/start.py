"""``narke start``: a node of this machine, the first of a cluster or one more."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from typing import Any
from urllib.parse import quote, urlsplit

__all__ = ["main", "parse"]

_DEFAULT_PORT = 6379
_CLIENT_PORT = 10_001  # as Ray's client server has it
_LOOPBACKS = ("127.0.0.1", "localhost", "::1")
_ANY_ADDRESS = "0.0.0.0"
_JOURNAL = "journal.db"
# Options of `ray start` for what a node here does not have (it listens on one port alone); they change nothing.
_IGNORED_VALUES = (
    "--node-manager-port",
    "--object-manager-port",
    "--min-worker-port",
    "--max-worker-port",
    "--worker-port-list",
    "--gcs-server-port",
    "--dashboard-agent-grpc-port",
    "--dashboard-grpc-port",
    "--runtime-env-agent-port",
    "--plasma-directory",
    "--autoscaling-config",
    "--redis-shard-ports",
    "--tracing-startup-hook",
    "--node-name",
    "--system-config",
)
_IGNORED_FLAGS = ("--no-redirect-output", "--disable-usage-stats", "--no-monitor", "--log-color")


def main(argv: list[str]) -> int:
    """Start the node; with --block, stay until it ends."""
    options = parse(argv)
    from narke.exceptions import AuthenticationError

    try:
        node, address = _start(options)
    except (AuthenticationError, RuntimeError, ValueError) as error:
        print(f"narke start: {error}", file=sys.stderr)
        return 1
    stopping = _stop_with_signals(node) if options.block else []
    if options.address:
        print(_joined(address), flush=True)
    else:
        url = node.dashboard_info().get("dashboard_url")
        print(_greeting(address, f"{_scheme(options)}://{url}" if url else None), flush=True)
    return _stay(node, stopping) if options.block else 0


def parse(argv: list[str]) -> argparse.Namespace:
    """Read and check the command line.

    Raises:
        SystemExit: an option is unknown or its value is wrong; it is named.
    """
    parser = argparse.ArgumentParser(prog="narke start", description=__doc__)
    _add_cluster_options(parser)
    _add_security_options(parser)
    _add_node_options(parser)
    for name in _IGNORED_VALUES:
        parser.add_argument(name, help=argparse.SUPPRESS)
    for name in _IGNORED_FLAGS:
        parser.add_argument(name, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.head == bool(options.address):
        parser.error("give either --head to begin a cluster or --address=HOST:PORT to join one")
    options.dashboard_host = options.dashboard_host or _default_host(options.head)
    options.store = _store(options)
    if options.store and not options.store.startswith("redis://"):
        parser.error("--store must be an address that begins with redis://")
    if options.port is not None and not 0 <= options.port <= 65535:
        parser.error(f"--port must be from 0 to 65535, not {options.port}")
    if (options.tls_cert is None) != (options.tls_key is None):
        parser.error("a certificate and its key come together: give --tls-cert and --tls-key")
    return options


def _add_cluster_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--head", action="store_true", help="begin a cluster")
    parser.add_argument("--address", help="HOST:PORT of the head whose cluster to join")
    parser.add_argument(
        "--port",
        type=int,
        help=f"the one port to listen on, 0 for any free one; {_DEFAULT_PORT} for a head, 0 else by default",
    )
    parser.add_argument(
        "--node-ip-address", help="this machine's address as others reach it; the node listens there"
    )
    parser.add_argument(
        "--new",
        action="store_true",
        help="begin a new cluster even where a head with this address has crashed",
    )
    parser.add_argument(
        "--store",
        help="where the head keeps the cluster's state: redis://[user][:password]@host[:port][/database][?name=NAME]; "
        "by default in a file of its session. $RAY_REDIS_ADDRESS (HOST:PORT) says the same as Ray does",
    )
    parser.add_argument("--redis-username", default="", help=argparse.SUPPRESS)
    parser.add_argument("--redis-password", default="", help=argparse.SUPPRESS)
    parser.add_argument(
        "--ray-client-server-port",
        type=int,
        default=_CLIENT_PORT,
        help=f"a second port for ray:// programs, if it is free; {_CLIENT_PORT} by default, 0 for none",
    )


def _add_security_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file", help="file with the cluster's token; default: the environment's, or a new one"
    )
    parser.add_argument(
        "--tls",
        choices=("auto", "on", "off"),
        help="encrypt links to other hosts: auto (those that leave this one; the default), on (all) or off (none)",
    )
    parser.add_argument(
        "--tls-cert", help="certificate chain for HTTPS (PEM); the cluster issues its own by default"
    )
    parser.add_argument("--tls-key", help="its key (PEM)")


def _add_node_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--num-cpus", type=float, help="CPUs to offer; all by default")
    parser.add_argument("--num-gpus", type=float, help="GPUs to offer; all by default")
    parser.add_argument("--memory", type=float, help="memory to offer, in bytes")
    parser.add_argument("--resources", type=_json_object, help="further resources as a JSON object")
    parser.add_argument("--labels", type=_pairs, help="labels as key=value,key=value")
    parser.add_argument("--object-store-memory", type=int, help="size of the object store in bytes")
    parser.add_argument(
        "--object-spilling-directory",
        help="folder for objects when memory is short; in the session's by default",
    )
    parser.add_argument("--temp-dir", help="folder for sessions")
    parser.add_argument(
        "--dashboard-host",
        help="address that the dashboard listens on, or this node's metrics and logs if it joins a cluster; 127.0.0.1 "
        "by default, every address of a pod that joins one",
    )
    parser.add_argument("--dashboard-port", type=int, help="its port; 8265 or the next free one by default")
    parser.add_argument(
        "--include-dashboard", type=_truth, default=True, help="true or false; true by default"
    )
    parser.add_argument(
        "--metrics-export-port", type=int, default=0, help="where metrics are served; any free port"
    )
    parser.add_argument(
        "--dashboard-agent-listen-port",
        type=int,
        help="port for questions about this host (health, logs, stacks); a node that joins a cluster takes any free "
        "one by default, a head none beside its dashboard's",
    )
    parser.add_argument("--block", action="store_true", help="stay until the node ends")


def _store(options: argparse.Namespace) -> str | None:
    """The address of the Redis server to use, as the option or Ray's environment variables say; None: a file."""
    address = os.environ.get("RAY_REDIS_ADDRESS")
    if options.store or not address or not options.head:
        return options.store
    who = quote(options.redis_username, safe="")
    if options.redis_password:
        who += ":" + quote(options.redis_password, safe="")
    name = os.environ.get("RAY_external_storage_namespace")
    return f"redis://{who + '@' if who else ''}{address}" + (f"?name={quote(name, safe='')}" if name else "")


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "1", "0"):
        raise argparse.ArgumentTypeError(f"neither true nor false: {text}")
    return text.lower() in ("true", "1")


def _json_object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text}")
    return value


def _pairs(text: str) -> dict[str, str]:
    pairs = [entry.split("=", 1) for entry in text.split(",") if entry]
    if any(len(pair) != 2 for pair in pairs):
        raise argparse.ArgumentTypeError(f"not of the form key=value,key=value: {text}")
    return {key.strip(): value.strip() for key, value in pairs}


def _start(options: argparse.Namespace) -> tuple[Any, str]:
    from narke._private import init_options, machine, node_process, sessions_dir

    for name in ("num_cpus", "num_gpus", "memory"):
        init_options._check_amount(name, getattr(options, name), False)
    init_options._check_resources(options.resources)
    init_options._check_store(options.object_store_memory)
    spilling = {"object_spilling_directory": options.object_spilling_directory}
    init_options.spill_options(spilling, "checked")
    ip = options.node_ip_address or machine.own_address()
    if options.head and options.port == 0:
        options.port = machine.free_port(ip)
    base = sessions_dir.base_dir(options.temp_dir)
    left = _left_by_crash(options, base, ip)
    session_dir = left or sessions_dir.create_session(base, _token(options, base))
    shape = init_options.node_shape(
        num_cpus=options.num_cpus,
        num_gpus=options.num_gpus,
        resources=options.resources,
        labels=options.labels,
        object_store_memory=options.object_store_memory,
        memory=options.memory,
        ip=ip,
        is_head=options.head,
    )
    if options.head:
        port = options.port or _DEFAULT_PORT
        address = sessions_dir.publish(session_dir, ip, port, options.ray_client_server_port)
    else:
        port, address = options.port or 0, options.address
        sessions_dir.write_info(session_dir, address=address, ip=ip)
    node = node_process.start_node(
        node_process.NodeOptions(
            session_dir,
            shape.resources,
            shape.object_store_bytes,
            shape.labels,
            address=ip,
            port=port,
            # Programs of this host name the head by any of its addresses; what was asked for is kept to.
            bind=None if options.node_ip_address or not options.head else "0.0.0.0",
            join=options.address,
            journal=options.store or os.path.join(session_dir, _JOURNAL) if options.head else None,
            new_journal=options.new,
            dashboard=_dashboard(options),
            tls=options.tls,
            tls_cert=options.tls_cert,
            tls_key=options.tls_key,
            client_port=(options.ray_client_server_port or None) if options.head else None,
            **init_options.spill_options(spilling, session_dir),
        )
    )
    if left:
        print(f"Narke goes on with the cluster of {session_dir}, whose head had ended without `narke stop`.")
    if options.store:
        sessions_dir.write_info(session_dir, store=_without_password(options.store))
    sessions_dir.write_info(session_dir, node_pid=node.pid, started_by="narke start", **node.dashboard_info())
    if options.head or sessions_dir.latest(base) is None:
        sessions_dir.set_latest(session_dir)
    return node, address


def _left_by_crash(options: argparse.Namespace, base: str, ip: str) -> str | None:
    """The session of a head with the same address that was not stopped: its cluster is taken up again; None without.

    A head that is stopped removes its journal; one in Redis stays.
    """
    from narke._private import sessions_dir

    if not options.head or options.new:
        return None
    address = f"{ip}:{options.port or _DEFAULT_PORT}"
    store = _without_password(options.store) if options.store else None
    for path in sessions_dir.sessions(base):
        info = sessions_dir.read_info(path)
        kept = info.get("store") == store if store else os.path.exists(os.path.join(path, _JOURNAL))
        if kept and info.get("address") == address and not sessions_dir.is_alive(path):
            return path
    return None


def _without_password(store: str) -> str:
    parts = urlsplit(store)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _token(options: argparse.Namespace, base: str) -> str | None:
    """The token to use: the file's, the environment's, that of the head if it runs on this machine; None: a new one."""
    from narke._private import gateway_address, sessions_dir

    if options.token_file:
        return sessions_dir.read_token(options.token_file)
    token = sessions_dir.given_token() or (gateway_address.token_at_home() if options.head else None)
    if token is None and options.address:
        neighbour = sessions_dir.find_by_address(base, options.address)
        if neighbour is None:
            raise ValueError(
                f"the token of the cluster at {options.address} is not known here: copy the file `token` of the head's "
                "session and give it as --token-file, or set NARKE_AUTH_TOKEN"
            )
        return sessions_dir.token_of(neighbour).decode()
    return token


def _default_host(is_head: bool) -> str:
    """Probes and scrapes come to a pod's address; a machine's own are for its user to open."""
    return _ANY_ADDRESS if "KUBERNETES_SERVICE_HOST" in os.environ and not is_head else _LOOPBACKS[0]


def _dashboard(options: argparse.Namespace) -> Any:
    from narke._private.node_process import DashboardOptions

    if not options.include_dashboard:
        return None
    host, metrics = options.dashboard_host, options.metrics_export_port
    agent = options.dashboard_agent_listen_port
    if not options.head:
        return DashboardOptions(host, agent or 0, metrics)
    return DashboardOptions(host, options.dashboard_port, metrics, eager=True, agent_port=agent)


def _scheme(options: argparse.Namespace) -> str:
    """How other hosts talk to the dashboard."""
    use = options.tls or os.environ.get("NARKE_TLS") or "auto"
    return "https" if use == "on" or (use == "auto" and options.dashboard_host not in _LOOPBACKS) else "http"


def _greeting(address: str, dashboard_url: str | None) -> str:
    dashboard = (
        f"The dashboard and the Jobs API are at {dashboard_url}; `narke dashboard` prints a link that logs in.\n"
        if dashboard_url
        else ""
    )
    return (
        f"Narke runtime started at {address}.\n\n"
        f"Programs on this machine join it with narke.init(), or ray.init(address={address!r}) under `narke run`.\n"
        f"Other machines join with `narke start --address={address} --token-file FILE`; programs that reach this port "
        f"alone connect with init('narke://{address}').\n"
        f"{dashboard}`narke status` shows it, `narke stop` ends it."
    )


def _joined(address: str) -> str:
    return f"Narke runtime started: this node has joined the cluster at {address}."


def _stop_with_signals(node: Any) -> list[int]:
    """Have the signals that end this command end the node; returns where those that came are noted."""
    stopping: list[int] = []

    def stop(number: int, _frame: Any) -> None:
        stopping.append(number)
        node.process.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    return stopping


def _stay(node: Any, stopping: list[int]) -> int:
    status = node.process.wait()
    if stopping:
        return 0
    print(
        f"narke start: the node ended by itself with status {status} at {time.strftime('%H:%M:%S')}",
        file=sys.stderr,
    )
    return 1 if os.WIFEXITED(status) or status else status
