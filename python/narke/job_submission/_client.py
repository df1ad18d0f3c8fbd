"""`JobSubmissionClient`."""

from __future__ import annotations

import asyncio
import os
import tempfile
import urllib.parse
from collections.abc import AsyncIterator, Iterator
from typing import Any

from narke._private.gateway_address import find_gateway
from narke._private.http_client import HttpClient, Reply
from narke.job_submission._records import JobDetails, JobStatus

__all__ = ["JobSubmissionClient"]

_TIMEOUT_S = 120.0


class JobSubmissionClient:
    """Submits jobs to a cluster over HTTP.

    Args:
        address: URL of the cluster's dashboard; or the cluster's address, "auto" or None for one of this machine.
            RAY_API_SERVER_ADDRESS and RAY_ADDRESS go first.
        create_cluster_if_needed: start a cluster in this process when no address is given and none runs.
        cookies, headers: sent with every request.
        metadata: added to the metadata of every job.
        verify: whether to check an https server's certificate, or the path of a bundle of authorities.

    Raises:
        ConnectionError: nobody answers there.
        narke.exceptions.AuthenticationError: the token is missing or wrong.
        RuntimeError: what answers is too old, or no cluster.
    """

    def __init__(
        self,
        address: str | None = None,
        create_cluster_if_needed: bool = False,
        cookies: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        headers: dict[str, Any] | None = None,
        verify: str | bool | None = True,
        **kwargs: Any,
    ) -> None:
        if kwargs:
            raise TypeError(f"JobSubmissionClient() takes no argument {next(iter(kwargs))!r}")
        url, token = _locate(address, create_cluster_if_needed)
        sent = dict(headers or {})
        if token and not any(name.lower() == "authorization" for name in sent):
            sent["Authorization"] = f"Bearer {token}"
        self._address = url
        self._default_metadata = dict(metadata or {})
        self._http = HttpClient(url, sent, cookies, verify)
        self._version = self._ask("GET", "/api/version").json()
        if "ray_version" not in self._version:
            raise RuntimeError(f"What answers at {url} is no cluster: its version is {self._version}.")

    def get_version(self) -> str:
        """The version of the interface."""
        return str(self._version["version"])

    def get_address(self) -> str:
        """The URL that requests go to."""
        return self._address

    def submit_job(
        self,
        *,
        entrypoint: str,
        job_id: str | None = None,
        runtime_env: dict[str, Any] | None = None,
        metadata: dict[str, str] | None = None,
        submission_id: str | None = None,
        entrypoint_num_cpus: int | float | None = None,
        entrypoint_num_gpus: int | float | None = None,
        entrypoint_memory: int | None = None,
        entrypoint_resources: dict[str, float] | None = None,
        entrypoint_label_selector: dict[str, str] | None = None,
    ) -> str:
        """Submit a job; returns its submission id.

        Args:
            entrypoint: the command line that runs it.
            job_id: the older name of `submission_id`.
            runtime_env: its environment; local directories in it are uploaded.
            metadata: texts by name.
            submission_id: an id of one's own; must be new.
            entrypoint_num_cpus, entrypoint_num_gpus, entrypoint_memory, entrypoint_resources: what is reserved for the
                entry point's process.
            entrypoint_label_selector: labels of the node to run on; the job's node is the head.

        Raises:
            RuntimeError: the cluster refuses; the text says why.
            ValueError: a directory of `runtime_env` cannot be packed.
        """
        env = dict(runtime_env or {})
        self._upload_directories(env)
        body = {
            "entrypoint": entrypoint,
            "submission_id": submission_id or job_id,
            "runtime_env": env,
            "metadata": {**self._default_metadata, **(metadata or {})},
            "entrypoint_num_cpus": entrypoint_num_cpus,
            "entrypoint_num_gpus": entrypoint_num_gpus,
            "entrypoint_memory": entrypoint_memory,
            "entrypoint_resources": entrypoint_resources,
            "entrypoint_label_selector": entrypoint_label_selector,
        }
        present = {name: value for name, value in body.items() if value is not None}
        return str(self._ask("POST", "/api/jobs/", present).json()["submission_id"])

    def stop_job(self, job_id: str) -> bool:
        """Ask a job to end; returns whether it was still running.

        Raises:
            RuntimeError: there is no such job.
        """
        return bool(self._ask("POST", f"/api/jobs/{_quoted(job_id)}/stop").json()["stopped"])

    def delete_job(self, job_id: str) -> bool:
        """Forget a job that is over.

        Raises:
            RuntimeError: there is no such job, or it is not over.
        """
        return bool(self._ask("DELETE", f"/api/jobs/{_quoted(job_id)}").json()["deleted"])

    def get_job_info(self, job_id: str) -> JobDetails:
        """All that is known of a job.

        Raises:
            RuntimeError: there is no such job.
        """
        return JobDetails(**self._ask("GET", f"/api/jobs/{_quoted(job_id)}").json())

    def list_jobs(self) -> list[JobDetails]:
        """All jobs: those submitted, and drivers that connected by themselves."""
        return [JobDetails(**fields) for fields in self._ask("GET", "/api/jobs/").json()]

    def get_job_status(self, job_id: str) -> JobStatus:
        """A job's state.

        Raises:
            RuntimeError: there is no such job.
        """
        return self.get_job_info(job_id).status

    def get_job_logs(self, job_id: str) -> str:
        """What a job has printed.

        Raises:
            RuntimeError: there is no such job, or it was not submitted.
        """
        return str(self._ask("GET", f"/api/jobs/{_quoted(job_id)}/logs").json()["logs"])

    async def tail_job_logs(self, job_id: str) -> AsyncIterator[str]:
        """What a job prints, from its beginning until it is over.

        Raises:
            RuntimeError: there is no such job, or it was not submitted.
        """
        pieces = self._tail(job_id)
        loop = asyncio.get_running_loop()
        while (piece := await loop.run_in_executor(None, next, pieces, None)) is not None:
            yield piece

    def _tail(self, job_id: str) -> Iterator[str]:
        return self._http.stream(f"/api/jobs/{_quoted(job_id)}/logs/tail")

    def _ask(self, method: str, path: str, body: Any = None) -> Reply:
        reply = self._http.request(method, path, body=body, timeout_s=_TIMEOUT_S)
        if reply.status != 200:
            raise _refused(reply)
        return reply

    # ---- uploads

    def _upload_directories(self, env: dict[str, Any]) -> None:
        excludes = env.get("excludes") or ()
        if _is_local(env.get("working_dir")):
            env["working_dir"] = self._upload(str(env["working_dir"]), excludes)
        if env.get("py_modules"):
            env["py_modules"] = [
                self._upload(str(entry), excludes, as_module=True) if _is_local(entry) else entry
                for entry in env["py_modules"]
            ]

    def _upload(self, path: str, excludes: Any, as_module: bool = False) -> str:
        from narke._private import packages

        with tempfile.TemporaryDirectory(prefix="narke-package-") as folder:
            package = packages.package(path, folder, excludes, as_module=as_module)
            return self._upload_file(package, os.path.basename(package))

    def _upload_file(self, path: str, name: str) -> str:
        where = f"/api/packages/gcs/{name}"
        reply = self._http.request("GET", where, timeout_s=_TIMEOUT_S)
        if reply.status == 404:
            with open(path, "rb") as file:
                reply = self._http.request("PUT", where, file=file, timeout_s=_TIMEOUT_S)
        if reply.status != 200:
            raise _refused(reply)
        return f"gcs://{name}"


def _quoted(job_id: str) -> str:
    return urllib.parse.quote(job_id, safe="")


def _is_local(value: Any) -> bool:
    return bool(value) and "://" not in str(value)


def _locate(address: str | None, create: bool) -> tuple[str, str]:
    try:
        return find_gateway(address)
    except ConnectionError:
        if not create or address is not None:
            raise
    import narke

    narke.init(ignore_reinit_error=True)
    return find_gateway(None)


def _refused(reply: Reply) -> Exception:
    if reply.status in (401, 403):
        from narke.exceptions import AuthenticationError

        return AuthenticationError(
            f"The cluster refuses the request: {reply.text} Set RAY_AUTH_TOKEN, or RAY_AUTH_TOKEN_PATH, to the "
            "cluster's token (the file 'token' in its session's folder)."
        )
    return RuntimeError(f"Request failed with status code {reply.status}: {reply.text}.")
