"""The actor that keeps the native proxy of one node running."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from typing import Any

__all__ = ["ProxyActor"]

_START_LIMIT_S = 30.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 5.0


class ProxyActor:
    """Starts ``narke-proxy``, starts it again when it ends, stops it after draining."""

    def __init__(self, controller: str, options: dict[str, Any]) -> None:
        self._controller = controller
        self._options = options
        self._process: asyncio.subprocess.Process | None = None
        self._port = 0
        self._restarts = -1
        self._error = ""
        self._stopping = False
        self._ready = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._grpc: Any = None

    async def ready(self) -> dict[str, Any]:
        """Wait until the proxy listens.

        Returns:
            {"port", "pid", "node_id", "node_ip", "worker_id", "actor_id", "log_file_path"}.

        Raises:
            RuntimeError: it does not; the text says why.
        """
        if self._keeper is None:
            self._keeper = asyncio.get_running_loop().create_task(self._keep())
            await self._start_grpc()
        await asyncio.wait_for(self._ready.wait(), _START_LIMIT_S)
        if self._error:
            raise RuntimeError(self._error)
        import narke

        here = narke.get_runtime_context()
        return {
            "port": self._port,
            "grpc_port": self._grpc.port if self._grpc is not None else 0,
            "pid": self._process.pid if self._process else None,
            "restarts": self._restarts,
            "node_id": here.get_node_id(),
            "node_ip": narke.util.get_node_ip_address(),
            "worker_id": here.get_worker_id(),
            "actor_id": here.get_actor_id(),
            "log_file_path": os.path.join("serve", os.path.basename(self._log_path())),
        }

    async def _start_grpc(self) -> None:
        options = self._options.get("grpc") or {}
        if not options.get("grpc_servicer_functions"):
            return
        from narke.serve._private.grpc_proxy import GrpcServer

        server = GrpcServer(options, self._options["host"])
        await server.start()
        self._grpc = server

    async def stop(self, timeout_s: float) -> None:
        """End the proxy once its requests are answered, at the latest after `timeout_s`."""
        self._stopping = True
        if self._grpc is not None:
            await self._grpc.stop()
        process = self._process
        if process is None or process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), timeout_s)
        except asyncio.TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE_S
        while not self._stopping:
            self._restarts += 1
            loop = asyncio.get_running_loop()
            began = loop.time()
            await self._run_once()
            if self._stopping or (self._restarts == 0 and self._error):
                return
            pause = _FIRST_PAUSE_S if loop.time() - began > 5 else min(pause * 2, _LONGEST_PAUSE_S)
            await asyncio.sleep(pause)

    async def _run_once(self) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
        except Exception as error:  # whoever waits for it is told
            return self._failed(f"narke-proxy cannot be started: {error!r}")
        self._process = process
        assert process.stdout is not None and process.stderr is not None
        line = await process.stdout.readline()
        if line.startswith(b"listening on "):
            self._port = int(line.split()[-1])
            self._options["port"] = self._port  # a restarted one takes the same
            self._error = ""
            self._ready.set()
        errors = await process.stderr.read()
        await process.wait()
        sys.stderr.write(errors.decode("utf-8", "replace"))
        if not line:
            self._failed(
                errors.decode("utf-8", "replace").strip() or f"narke-proxy ended with {process.returncode}"
            )

    def _failed(self, why: str) -> None:
        self._error = why
        self._ready.set()

    def _log_path(self) -> str:
        import narke

        folder = narke._private.session.connected().info["session_dir"]
        node = narke.get_runtime_context().get_node_id()
        return os.path.join(folder, "logs", "serve", f"proxy_{node[:16]}.log")

    def _command(self) -> list[str]:
        import narke

        folder = narke._private.session.connected().info["session_dir"]
        os.makedirs(os.path.dirname(self._log_path()), exist_ok=True)
        package = os.path.dirname(os.path.abspath(narke.__file__))
        program = os.environ.get("NARKE_PROXY") or os.path.join(package, "bin", "narke-proxy")
        arguments: dict[str, Any] = {
            "node-socket": os.path.join(folder, "sockets", "node"),
            "token-file": os.path.join(folder, "token"),
            "session-dir": folder,
            "controller": self._controller,
            "node-id": narke.get_runtime_context().get_node_id(),
            "host": self._options["host"],
            "port": self._options["port"],
            "keep-alive-ms": int(self._options["keep_alive_timeout_s"] * 1000),
        }
        if self._options.get("access_log", True):
            arguments["access-log"] = self._log_path()
        tls = {
            "ssl-key": self._options.get("ssl_keyfile"),
            "ssl-certificate": self._options.get("ssl_certfile"),
            "ssl-key-password": self._options.get("ssl_keyfile_password"),
            "ssl-authorities": self._options.get("ssl_ca_certs"),
        }
        arguments.update({name: value for name, value in tls.items() if value})
        return [program, *(f"--{name}={value}" for name, value in arguments.items())]
