"""`RuntimeEnvContext`: what plugins may change of the workers that are about to be started."""

from __future__ import annotations

import json

__all__ = ["RuntimeEnvContext"]


class RuntimeEnvContext:
    """How workers of an environment are started.

    Args:
        command_prefix: words of a shell command line, run before the worker in its shell (``["cd", "/x", "&&"]``).
        env_vars: further environment variables.
        py_executable: the interpreter's command line.
        override_worker_entrypoint: accepted for plugins that set it; workers are forked and have no entry point.
        java_jars: accepted likewise.
    """

    def __init__(
        self,
        command_prefix: list[str] | None = None,
        env_vars: dict[str, str] | None = None,
        py_executable: str | None = None,
        override_worker_entrypoint: str | None = None,
        java_jars: list[str] | None = None,
    ) -> None:
        self.command_prefix = list(command_prefix or [])
        self.env_vars = dict(env_vars or {})
        self.py_executable = py_executable
        self.override_worker_entrypoint = override_worker_entrypoint
        self.java_jars = list(java_jars or [])

    def serialize(self) -> str:
        """It as JSON."""
        return json.dumps(self.__dict__)

    @staticmethod
    def deserialize(json_string: str) -> RuntimeEnvContext:
        """The context that `serialize` gave."""
        return RuntimeEnvContext(**json.loads(json_string))
