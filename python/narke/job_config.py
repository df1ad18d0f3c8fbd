"""`JobConfig`: what a program may say about itself as a job."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["JobConfig"]


class JobConfig:
    """Configuration of one job.

    Args:
        jvm_options: options of Java workers; kept, and unused without Java.
        code_search_path: further folders (or one text separated by ``:``) to look for modules in.
        runtime_env: environment of the job's tasks and actors.
        metadata: texts by name, shown with the job.
        ray_namespace: where named actors of this job live; made up when None.
        default_actor_lifetime: ``"non_detached"`` or ``"detached"`` for actors that do not say.
    """

    def __init__(
        self,
        jvm_options: list[str] | None = None,
        code_search_path: list[str] | str | None = None,
        runtime_env: Any = None,
        _client_job: bool = False,
        metadata: dict[str, str] | None = None,
        ray_namespace: str | None = None,
        default_actor_lifetime: str = "non_detached",
        _disable_job_level_lineage_reconstruction: bool = False,
        _py_driver_sys_path: list[str] | None = None,
    ) -> None:
        self.jvm_options = jvm_options or []
        self.code_search_path = (
            code_search_path.split(":") if isinstance(code_search_path, str) else list(code_search_path or [])
        )
        self._client_job = _client_job
        self._disable_job_level_lineage_reconstruction = _disable_job_level_lineage_reconstruction
        self._py_driver_sys_path = list(_py_driver_sys_path or [])
        self.metadata: dict[str, str] = {}
        for key, value in (metadata or {}).items():
            self.set_metadata(key, value)
        self.runtime_env: Any = {}
        self.set_runtime_env(runtime_env)
        self.ray_namespace: str | None = None
        self.set_ray_namespace(ray_namespace)
        self.set_default_actor_lifetime(default_actor_lifetime)
        self.py_logging_config: Any = None
        self.plain_runtime_env: dict[str, Any] = {}

    def set_metadata(self, key: str, value: str) -> None:
        """Set one text of the metadata.

        Raises:
            TypeError: the key or the value is no string.
        """
        if not isinstance(key, str) or not isinstance(value, str):
            raise TypeError(f"metadata maps strings to strings, got {key!r}: {value!r}")
        self.metadata[key] = value

    def set_runtime_env(self, runtime_env: Any, validate: bool = False) -> None:
        """Set the environment of the job's tasks and actors.

        Args:
            runtime_env: a dict, a `narke.runtime_env.RuntimeEnv`, or None for none.
            validate: check it now rather than when the job starts.

        Raises:
            TypeError, ValueError: it is checked and malformed.
        """
        if validate and runtime_env:
            from narke.runtime_env import RuntimeEnv

            runtime_env = runtime_env if isinstance(runtime_env, RuntimeEnv) else RuntimeEnv(**runtime_env)
        self.runtime_env = runtime_env if runtime_env is not None else {}

    def set_ray_namespace(self, ray_namespace: str | None) -> None:
        """Set the namespace; None lets one be made up.

        Raises:
            TypeError, ValueError: it is no string, or empty.
        """
        from narke._private.naming import check_namespace

        check_namespace(ray_namespace)
        self.ray_namespace = ray_namespace

    def set_default_actor_lifetime(self, default_actor_lifetime: str) -> None:
        """Set the lifetime of actors that do not say.

        Raises:
            ValueError: neither ``"detached"`` nor ``"non_detached"``.
        """
        if default_actor_lifetime not in ("detached", "non_detached"):
            raise ValueError(
                f"Default actor lifetime must be one of `detached`, `non_detached`, got {default_actor_lifetime!r}"
            )
        self._default_actor_lifetime = default_actor_lifetime

    def set_py_logging_config(self, logging_config: Any = None) -> None:
        """Set how driver and workers log: a `narke.LoggingConfig`, or None for the default."""
        self.py_logging_config = logging_config

    def ensure_logging_config(self, logging_config: Any = None) -> None:
        """Set the logging configuration unless there is one."""
        if self.py_logging_config is None:
            self.set_py_logging_config(logging_config)

    @classmethod
    def from_json(cls, job_config_json: dict[str, Any] | str) -> JobConfig:
        """A configuration from a dict, or its JSON text, with the names of the constructor's parameters."""
        fields = json.loads(job_config_json) if isinstance(job_config_json, str) else dict(job_config_json)
        return cls(
            jvm_options=fields.get("jvm_options"),
            code_search_path=fields.get("code_search_path"),
            runtime_env=fields.get("runtime_env"),
            _client_job=fields.get("client_job", False),
            metadata=fields.get("metadata"),
            ray_namespace=fields.get("ray_namespace"),
            default_actor_lifetime=fields.get("default_actor_lifetime", "non_detached"),
            _py_driver_sys_path=fields.get("py_driver_sys_path"),
        )
