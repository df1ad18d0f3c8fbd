"""``narke serve``, also installed as ``serve``."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

__all__ = ["main"]

_DEFAULT_ADDRESS = "http://localhost:8265"
_HTTP_LIMIT_S = 150.0  # longer than the gateway takes at most


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; returns the exit status."""
    options = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
    try:
        return int(options.run(options) or 0)
    except (RuntimeError, ValueError, ConnectionError, urllib.error.URLError) as error:
        print(f"serve {options.command}: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="serve", description="Deploy and look after Serve applications.")
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, run: Any, text: str, address: str = _DEFAULT_ADDRESS) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.add_argument(
            "-a", "--address", default=address, help="the cluster, or the address of its dashboard"
        )
        made.set_defaults(run=run)
        return made

    start = command("start", _start, "start Serve on a cluster", "auto")
    start.add_argument("--http-host", default="127.0.0.1")
    start.add_argument("--http-port", type=int, default=8000)
    start.add_argument("--proxy-location", choices=["Disabled", "HeadOnly", "EveryNode"], default="EveryNode")
    deploy = command("deploy", _deploy, "deploy a config file, or an application by its import path")
    run = command(
        "run", _run, "run a config file's applications, or one by its import path, until interrupted", ""
    )
    for made in (deploy, run):
        made.add_argument("config_or_import_path")
        made.add_argument("arguments", nargs="*", metavar="KEY=VALUE", help="for an application's builder")
        made.add_argument("--runtime-env", help="YAML file")
        made.add_argument("--runtime-env-json", help="JSON")
        made.add_argument("--working-dir", help="URI of the code")
        made.add_argument("--name", default="default")
    run.add_argument("-d", "--app-dir", default=".", help="folder that import paths start from")
    run.add_argument("--blocking", action=argparse.BooleanOptionalAction, default=True)
    run.add_argument("--non-blocking", dest="blocking", action="store_false")
    run.add_argument(
        "-r", "--reload", action="store_true", help="deploy again when a file below the folder changes"
    )
    run.add_argument("--route-prefix", default="/")
    for name, action, text in (
        ("status", _status, "show the state of proxies and applications"),
        ("config", _config, "show the config that was deployed last"),
    ):
        command(name, action, text).add_argument("-n", "--name", help="of one application")
    shutdown = command("shutdown", _shutdown, "end Serve on a cluster")
    shutdown.add_argument("-y", "--yes", action="store_true", help="do not ask")
    delete = command("delete", _delete, "take an application down")
    delete.add_argument("name")
    delete.add_argument("-y", "--yes", action="store_true", help="do not ask")
    build = commands.add_parser("build", help="write a config file for applications")
    build.add_argument("import_paths", nargs="+")
    build.add_argument("-d", "--app-dir", default=".")
    build.add_argument("-o", "--output-path")
    build.set_defaults(run=_build)
    return parser


def _connect(address: str) -> None:
    import narke

    if address == _DEFAULT_ADDRESS:
        address = os.environ.get("RAY_ADDRESS") or "auto"
    narke.init(address=address, namespace="serve", log_to_driver=False)


def _request(options: Any, method: str, body: Any = None) -> Any:
    """Ask the REST API: over HTTP if an address of a dashboard was given, else in the cluster itself."""
    data = b"" if body is None else json.dumps(body).encode()
    path = "/api/serve/applications/"
    address = options.address
    if address.startswith("http") and address != _DEFAULT_ADDRESS:
        text = _over_http(address, method, path, data)
        return json.loads(text) if method == "GET" else None
    _connect(address)
    from narke.serve._private.rest import handle

    status, answer = handle(method, path, data)
    if status >= 400:
        raise ValueError(answer)
    return answer


def _over_http(address: str, method: str, path: str, data: bytes) -> bytes:
    from narke._private.gateway_address import find_gateway

    url, token = find_gateway(address)
    request = urllib.request.Request(url + path, data or None, method=method)
    request.add_header("Content-Type", "application/json")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_HTTP_LIMIT_S) as answer:
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        raise ValueError(error.read().decode("utf-8", "replace").strip() or str(error)) from None


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False))


def _read_yaml(path: str) -> Any:
    import yaml

    with open(path) as file:
        return yaml.safe_load(file)


def _is_config(path: str) -> bool:
    return os.path.isfile(path) and path.endswith((".yaml", ".yml"))


def _runtime_env(options: Any) -> dict[str, Any]:
    env: dict[str, Any] = {}
    if options.runtime_env and options.runtime_env_json:
        raise ValueError("Only one of --runtime-env and --runtime-env-json can be provided.")
    if options.runtime_env:
        env = _read_yaml(options.runtime_env)
    elif options.runtime_env_json:
        env = json.loads(options.runtime_env_json)
    if options.working_dir:
        env["working_dir"] = options.working_dir
    return env


def _arguments(words: list[str]) -> dict[str, str]:
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise ValueError(f"Invalid application argument '{word}', must be of the form '<key>=<val>'.")
        found[key] = value
    return found


def _start(options: Any) -> None:
    from narke import serve

    _connect(options.address)
    serve.start(
        proxy_location=options.proxy_location,
        http_options={"host": options.http_host, "port": options.http_port},
    )


def _deploy(options: Any) -> None:
    if _is_config(options.config_or_import_path):
        if options.arguments:
            raise ValueError("Application arguments cannot be specified for a config file.")
        config = _read_yaml(options.config_or_import_path)
    else:
        app = {
            "name": options.name,
            "import_path": options.config_or_import_path,
            "runtime_env": _runtime_env(options),
            "args": _arguments(options.arguments),
        }
        config = {"applications": [app]}
    _request(options, "PUT", config)
    print("Sent deploy request successfully.\n * Use `serve status` to check applications' statuses.")


def _run(options: Any) -> None:
    from narke import serve

    sys.path.insert(0, os.path.abspath(options.app_dir))
    path = options.config_or_import_path
    import narke

    if not narke.is_initialized():
        narke.init(
            address=options.address or os.environ.get("RAY_ADDRESS"),
            namespace="serve",
            runtime_env=_runtime_env(options) or None,
        )
    if _is_config(path):
        from narke.serve._private.client import wait_running
        from narke.serve._private.rest import deploy_config
        from narke.serve.schema import ServeDeploySchema

        schema = ServeDeploySchema.model_validate(_read_yaml(path))
        deploy_config(schema)
        wait_running([app.name for app in schema.applications])
        print("Submitted deploy config successfully.")
    else:
        _run_import_path(options)
    if options.blocking:
        _until_interrupted(options)
        serve.shutdown()


def _run_import_path(options: Any) -> None:
    from narke import serve
    from narke.serve._private.build import import_app

    app = import_app(options.config_or_import_path, _arguments(options.arguments))
    serve.run(app, name=options.name, route_prefix=options.route_prefix)
    print(f'Application "{options.name}" is ready.', flush=True)


def _until_interrupted(options: Any) -> None:
    seen = _changes(options.app_dir)
    try:
        while True:
            time.sleep(1)
            if options.reload and (now := _changes(options.app_dir)) != seen:
                seen = now
                _reload(options)
    except KeyboardInterrupt:
        print("Got KeyboardInterrupt, shutting down...")


def _changes(folder: str) -> dict[str, float]:
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(".py"):
                path = os.path.join(place, name)
                found[path] = os.path.getmtime(path)
    return found


def _reload(options: Any) -> None:
    folder = os.path.abspath(options.app_dir)
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(folder):
            del sys.modules[name]
    try:
        _run_import_path(options)
    except Exception as error:  # the program is being edited: the next change may mend it
        print(f"The application could not be deployed again: {error}", file=sys.stderr)


def _status(options: Any) -> None:
    details = _request(options, "GET")
    applications = {name: _overview(app) for name, app in details["applications"].items()}
    if options.name:
        shown = applications.get(options.name)
        if shown is None:
            raise ValueError(f'Application "{options.name}" does not exist.')
        print(_yaml(shown), end="")
        return
    proxies = {node: proxy["status"] for node, proxy in details["proxies"].items()}
    whole = {"proxies": proxies, "applications": applications, "target_capacity": details["target_capacity"]}
    print(_yaml(whole), end="")


def _overview(app: dict[str, Any]) -> dict[str, Any]:
    deployments = {}
    for name, each in app["deployments"].items():
        states: dict[str, int] = {}
        for replica in each["replicas"]:
            states[replica["state"]] = states.get(replica["state"], 0) + 1
        deployments[name] = {
            "status": each["status"],
            "status_trigger": each["status_trigger"],
            "replica_states": states,
            "message": each["message"],
        }
    return {
        "status": app["status"],
        "message": app["message"],
        "last_deployed_time_s": app["last_deployed_time_s"],
        "deployments": deployments,
    }


def _config(options: Any) -> None:
    applications = _request(options, "GET")["applications"]
    configs = {
        name: app["deployed_app_config"] for name, app in applications.items() if app["deployed_app_config"]
    }
    if options.name:
        if options.name not in configs:
            raise ValueError(f'No config has been deployed for application "{options.name}".')
        print(_yaml(configs[options.name]), end="")
    elif configs:
        print("\n---\n\n".join(_yaml(config) for config in configs.values()), end="")
    else:
        print("No configuration was found.")


def _confirmed(options: Any, what: str) -> bool:
    return options.yes or input(f"{what} Do you want to continue? [y/N]: ").strip().lower() in ("y", "yes")


def _shutdown(options: Any) -> None:
    if _confirmed(options, "This will shut down Serve on the cluster and delete all applications."):
        _request(options, "DELETE")
        print("Sent shutdown request; applications will be deleted asynchronously.")


def _delete(options: Any) -> None:
    from narke import serve

    if _confirmed(options, f"This will delete the application {options.name}."):
        _connect(options.address)
        serve.delete(options.name)


def _build(options: Any) -> None:
    from narke.serve._private.build import import_app, unique_deployments
    from narke.serve.deployment import options_for_people

    sys.path.insert(0, os.path.abspath(options.app_dir))
    applications = []
    for number, path in enumerate(options.import_paths, 1):
        _, deployments = unique_deployments(import_app(path, {}), lambda name: name)
        applications.append(
            {
                "name": f"app{number}",
                "route_prefix": "/" if number == 1 else f"/app{number}",
                "import_path": path,
                "runtime_env": {},
                "deployments": [
                    {"name": d.name, **_changed(options_for_people(d))} for d in deployments.values()
                ],
            }
        )
    config = {
        "proxy_location": "EveryNode",
        "http_options": {"host": "0.0.0.0", "port": 8000},
        "grpc_options": {"port": 9000, "grpc_servicer_functions": []},
        "logging_config": {
            "encoding": "TEXT",
            "log_level": "INFO",
            "logs_dir": None,
            "enable_access_log": True,
        },
        "applications": applications,
    }
    text = "# This file was generated using the `serve build` command.\n\n" + _yaml(config)
    if not options.output_path:
        print(text, end="")
        return
    with open(options.output_path, "w") as file:
        file.write(text)


def _changed(options: dict[str, Any]) -> dict[str, Any]:
    """Options that differ from the defaults."""
    from narke.serve.deployment import DEFAULTS

    shown = {key: value for key, value in options.items() if value != DEFAULTS[key]}
    if shown.get("ray_actor_options") == {"num_cpus": 1}:
        shown["ray_actor_options"] = {"num_cpus": 1.0}
    return json.loads(json.dumps(shown, default=dataclasses.asdict))  # type: ignore[no-any-return]
