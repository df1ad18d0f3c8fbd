"""``narke job``: submit programs to a cluster, and watch them."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
import time
from typing import Any

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run one of the subcommands; returns the exit status."""
    options = _parser().parse_args(argv)
    from narke.exceptions import AuthenticationError

    try:
        return int(options.run(options))
    except (ConnectionError, RuntimeError, ValueError, AuthenticationError) as error:
        print(f"narke job: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--address", help="URL of the cluster's dashboard, or the cluster's address")
    common.add_argument("--headers", type=_json_object, help="headers of every request, as a JSON object")
    common.add_argument(
        "--verify",
        type=_verify,
        default=True,
        help="check certificates: true, false, or a file of authorities",
    )
    common.add_argument("--log-style", choices=("auto", "record", "pretty"), help=argparse.SUPPRESS)
    common.add_argument("--log-color", choices=("auto", "false", "true"), help=argparse.SUPPRESS)
    common.add_argument("-v", "--verbose", action="count", help=argparse.SUPPRESS)
    parser = argparse.ArgumentParser(prog="narke job", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_submit(commands.add_parser("submit", parents=[common], help="submit a job"))
    for name, run, text in (
        ("status", _status, "show a job's state"),
        ("stop", _stop, "ask a job to end"),
        ("delete", _delete, "forget a job that is over"),
        ("logs", _logs, "show what a job has printed"),
    ):
        command = commands.add_parser(name, parents=[common], help=text)
        command.add_argument("job_id", metavar="JOB_ID")
        command.set_defaults(run=run)
        if name == "stop":
            command.add_argument("--no-wait", action="store_true", help="do not wait for its end")
        if name == "logs":
            command.add_argument("-f", "--follow", action="store_true", help="go on until it is over")
        if name == "status":
            command.add_argument("--json", action="store_true", help="all that is known of it, as JSON")
    listing = commands.add_parser("list", parents=[common], help="show all jobs")
    listing.add_argument("--json", action="store_true", help="as JSON")
    listing.set_defaults(run=_list)
    return parser


def _add_submit(command: argparse.ArgumentParser) -> None:
    command.add_argument("--submission-id", help="an id of your own")
    command.add_argument("--job-id", help="the older name of --submission-id")
    command.add_argument("--runtime-env", help="a YAML or JSON file")
    command.add_argument("--runtime-env-json", type=_json_object, help="the environment as a JSON object")
    command.add_argument("--working-dir", help="a directory to upload, or the URI of a zip file")
    command.add_argument("--metadata-json", type=_json_object, help="metadata as a JSON object")
    command.add_argument("--entrypoint-num-cpus", type=float, help="CPUs to reserve")
    command.add_argument("--entrypoint-num-gpus", type=float, help="GPUs to reserve")
    command.add_argument("--entrypoint-memory", type=int, help="bytes of memory to reserve")
    command.add_argument(
        "--entrypoint-resources", type=_json_object, help="further resources as a JSON object"
    )
    command.add_argument("--entrypoint-label-selector", type=_json_object, help="labels as a JSON object")
    command.add_argument("--no-wait", action="store_true", help="return once it is submitted")
    command.add_argument("entrypoint", nargs="+", metavar="-- COMMAND", help="what to run")
    command.set_defaults(run=_submit)


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"not JSON: {error}") from error
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"not a JSON object: {text}")
    return value


def _verify(text: str) -> bool | str:
    return {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)


def _client(options: argparse.Namespace, *, create: bool = False) -> Any:
    from narke.job_submission import JobSubmissionClient

    return JobSubmissionClient(
        options.address, create_cluster_if_needed=create, headers=options.headers, verify=options.verify
    )


def _runtime_env(options: argparse.Namespace) -> dict[str, Any]:
    if options.runtime_env and options.runtime_env_json is not None:
        raise ValueError("Only one of --runtime-env and --runtime-env-json can be provided.")
    env: dict[str, Any] = options.runtime_env_json or {}
    if options.runtime_env:
        env = _read_file(options.runtime_env)
    if options.working_dir:
        env["working_dir"] = options.working_dir
    return env


def _read_file(path: str) -> dict[str, Any]:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if path.endswith(".json"):
            value = json.loads(text)
        else:
            import yaml

            value = yaml.safe_load(text)
    except ImportError as error:
        raise ValueError(f"{path}: reading YAML needs the package pyyaml; give JSON instead") from error
    except Exception as error:  # YAML's own errors are of no common class without importing it first
        raise ValueError(f"{path} cannot be read as a runtime environment: {error}") from error
    if not isinstance(value, dict):
        raise ValueError(f"{path} must hold a mapping, not {type(value).__name__}")
    return value


def _rule(text: str) -> str:
    return "\n".join(("", "-" * len(text), text, "-" * len(text), ""))


def _submit(options: argparse.Namespace) -> int:
    client = _client(options, create=True)
    job = client.submit_job(
        entrypoint=shlex.join(options.entrypoint),
        submission_id=options.submission_id or options.job_id,
        runtime_env=_runtime_env(options),
        metadata=options.metadata_json,
        entrypoint_num_cpus=options.entrypoint_num_cpus,
        entrypoint_num_gpus=options.entrypoint_num_gpus,
        entrypoint_memory=options.entrypoint_memory,
        entrypoint_resources=options.entrypoint_resources,
        entrypoint_label_selector=options.entrypoint_label_selector,
    )
    print(f"Job submission server address: {client.get_address()}")
    print(_rule(f"Job '{job}' submitted successfully"))
    print(
        f"Next steps\n  Query the logs of the job:\n    narke job logs {job}\n  Query the status of the job:\n"
        f"    narke job status {job}\n  Request the job to be stopped:\n    narke job stop {job}\n",
        flush=True,
    )
    if options.no_wait:
        return 0
    print("Tailing logs until the job exits (disable with --no-wait):", flush=True)
    return _follow(client, job)


def _follow(client: Any, job: str) -> int:
    async def show() -> None:
        async for text in client.tail_job_logs(job):
            print(text, end="", flush=True)

    asyncio.run(show())
    return 1 if _show_status(client, job) == "FAILED" else 0


def _show_status(client: Any, job: str) -> str:
    info = client.get_job_info(job)
    if info.status == "SUCCEEDED":
        print(_rule(f"Job '{job}' succeeded"))
    elif info.status == "STOPPED":
        print(f"Job '{job}' was stopped")
    elif info.status == "FAILED":
        print(_rule(f"Job '{job}' failed"))
    else:
        print(f"Status for job '{job}': {info.status}")
    if info.message and info.status not in ("SUCCEEDED", "STOPPED"):
        print(f"Status message: {info.message}")
    return str(info.status)


def _status(options: argparse.Namespace) -> int:
    if options.json:
        print(json.dumps(_client(options).get_job_info(options.job_id).model_dump(), indent=2, default=str))
        return 0
    _show_status(_client(options), options.job_id)
    return 0


def _stop(options: argparse.Namespace) -> int:
    client = _client(options)
    print(f"Attempting to stop job '{options.job_id}'")
    client.stop_job(options.job_id)
    if options.no_wait:
        return 0
    print(f"Waiting for job '{options.job_id}' to exit (disable with --no-wait):", flush=True)
    while not client.get_job_status(options.job_id).is_terminal():
        time.sleep(0.1)
    _show_status(client, options.job_id)
    return 0


def _delete(options: argparse.Namespace) -> int:
    _client(options).delete_job(options.job_id)
    print(f"Job '{options.job_id}' deleted successfully")
    return 0


def _logs(options: argparse.Namespace) -> int:
    client = _client(options)
    if options.follow:
        _follow(client, options.job_id)
    else:
        print(client.get_job_logs(options.job_id), end="")
    return 0


def _list(options: argparse.Namespace) -> int:
    jobs = _client(options).list_jobs()
    if options.json:
        print(json.dumps([job.model_dump() for job in jobs], indent=2, default=str))
        return 0
    for job in jobs:
        print(job)
    return 0
