"""`RuntimeEnv` and `RuntimeEnvConfig`: dicts that check what is put into them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from narke.runtime_env.checks import OPTION_TO_VALIDATION_FN

__all__ = ["OPTION_TO_VALIDATION_FN", "RuntimeEnv", "RuntimeEnvConfig"]

_DEFAULT_TIMEOUT_S = 600


class RuntimeEnvConfig(dict[str, Any]):
    """How the making of an environment goes.

    Args:
        setup_timeout_seconds: longest time it may take; -1 for any.
        eager_install: make it when the job starts rather than when it is first needed.
        log_files: files whose lines belong to the driver's output, too.

    Raises:
        TypeError, ValueError: a value is wrong.
    """

    known_fields = frozenset({"setup_timeout_seconds", "eager_install", "log_files"})

    def __init__(
        self,
        setup_timeout_seconds: int = _DEFAULT_TIMEOUT_S,
        eager_install: bool = True,
        log_files: list[str] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(setup_timeout_seconds, int):
            raise TypeError(f"setup_timeout_seconds must be of type int, got: {type(setup_timeout_seconds)}")
        if setup_timeout_seconds <= 0 and setup_timeout_seconds != -1:
            raise ValueError(
                f"setup_timeout_seconds must be greater than zero or equals to -1, got: {setup_timeout_seconds}"
            )
        if not isinstance(eager_install, bool):
            raise TypeError(f"eager_install must be a boolean. got {type(eager_install)}")
        if log_files is not None and not isinstance(log_files, list):
            raise TypeError("log_files must be a list of strings or None.")
        if not all(isinstance(name, str) for name in log_files or ()):
            raise TypeError("Each item in log_files must be a string.")
        self["setup_timeout_seconds"] = setup_timeout_seconds
        self["eager_install"] = eager_install
        self["log_files"] = list(log_files or [])

    @staticmethod
    def parse_and_validate_runtime_env_config(config: Any) -> RuntimeEnvConfig:
        """The configuration of a dict; keys it does not know are left out.

        Raises:
            TypeError, ValueError: it is no dict, or a value is wrong.
        """
        if isinstance(config, RuntimeEnvConfig):
            return config
        if not isinstance(config, Mapping):
            raise TypeError(
                f"runtime_env['config'] must be of type dict or RuntimeEnvConfig, got {type(config)}"
            )
        return RuntimeEnvConfig(
            **{key: value for key, value in config.items() if key in RuntimeEnvConfig.known_fields}
        )

    @classmethod
    def default_config(cls) -> RuntimeEnvConfig:
        """The configuration of environments that have none."""
        return cls()

    def build_proto_runtime_env_config(self) -> dict[str, Any]:
        """The configuration as it travels: a plain dict."""
        return dict(self)

    @classmethod
    def from_proto(cls, runtime_env_config: Any) -> RuntimeEnvConfig:
        """The configuration that `build_proto_runtime_env_config` gave."""
        return cls.parse_and_validate_runtime_env_config(runtime_env_config)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return dict(self)


class RuntimeEnv(dict[str, Any]):
    """What tasks and actors need around them.

    Args:
        py_modules: modules to make importable: module objects, folders, wheels, URIs.
        py_executable: command to run instead of the Python interpreter.
        working_dir: folder to work in and import from.
        pip, uv: packages to install: a list of requirements, a requirements file, or a dict with ``packages``.
        conda: an environment's name, file or description.
        container, image_uri: image to run in.
        env_vars: environment variables; ``${NAME}`` in a value stands for what the variable was.
        worker_process_setup_hook: callable, or ``module.function``, that every worker runs first.
        nsight, rocprof_sys: profiler to run under.
        config: a dict or `RuntimeEnvConfig`.
        _validate: check the fields now.
        kwargs: ``excludes`` and fields of plugins.

    Raises:
        TypeError, ValueError: a field is wrong, or two exclude each other.
    """

    known_fields = frozenset(
        {
            "_inject_current_ray",
            "_nsight",
            "_ray_commit",
            "_ray_release",
            "_rocprof_sys",
            "conda",
            "config",
            "container",
            "env_vars",
            "excludes",
            "image_uri",
            "java_jars",
            "pip",
            "py_executable",
            "py_modules",
            "uv",
            "worker_process_setup_hook",
            "working_dir",
        }
    )
    extensions_fields = frozenset({"_ray_release", "_ray_commit", "_inject_current_ray"})

    def __init__(
        self,
        *,
        py_modules: list[Any] | None = None,
        py_executable: str | None = None,
        working_dir: str | None = None,
        pip: Any = None,
        conda: Any = None,
        container: dict[str, Any] | None = None,
        env_vars: dict[str, str] | None = None,
        worker_process_setup_hook: Any = None,
        nsight: Any = None,
        rocprof_sys: Any = None,
        config: Any = None,
        _validate: bool = True,
        image_uri: str | None = None,
        uv: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        fields = {
            **kwargs,
            "py_modules": py_modules,
            "py_executable": py_executable,
            "working_dir": working_dir,
            "pip": pip,
            "uv": uv,
            "conda": conda,
            "container": container,
            "env_vars": env_vars,
            "worker_process_setup_hook": worker_process_setup_hook,
            "_nsight": kwargs.get("_nsight", nsight),
            "_rocprof_sys": kwargs.get("_rocprof_sys", rocprof_sys),
            "config": config,
            "image_uri": image_uri,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        if _validate:
            _check_together(given)
        for name, value in given.items():
            if _validate:
                self[name] = value
            else:
                super().__setitem__(name, value)

    def __setitem__(self, key: str, value: Any) -> None:
        """Set a field, checked."""
        if is_dataclass_instance(value):
            from dataclasses import asdict

            value = asdict(value)
        if key == "config":
            value = RuntimeEnvConfig.parse_and_validate_runtime_env_config(value).to_dict()
        check = OPTION_TO_VALIDATION_FN.get(key)
        super().__setitem__(key, check(value) if check and value is not None else value)

    def set(self, name: str, value: Any) -> None:
        """Set a field, checked; dataclasses become dicts."""
        self[name] = value

    def get(self, name: str, default: Any = None, data_class: Any = None) -> Any:
        """A field's value.

        Args:
            name: the field.
            default: given when it is not set.
            data_class: class to make of a field that is a dict.
        """
        if name not in self:
            return default
        value = self[name]
        if data_class is None or not isinstance(value, Mapping):
            return value
        return data_class(**value)

    def to_dict(self) -> dict[str, Any]:
        """A plain dict of it."""
        return dict(self)

    def serialize(self) -> str:
        """It as JSON; the same text for equal environments."""
        return json.dumps(self, sort_keys=True)

    @classmethod
    def deserialize(cls, serialized_runtime_env: str) -> RuntimeEnv:
        """The environment that `serialize` gave; not checked again."""
        return cls(_validate=False, **json.loads(serialized_runtime_env))

    def has_working_dir(self) -> bool:
        """Whether a working directory is set."""
        return bool(self.get("working_dir"))

    def working_dir(self) -> str:
        """The working directory; ``""`` without one."""
        return self.get("working_dir", "")

    def working_dir_uri(self) -> str | None:
        """The working directory; None without one."""
        return self.get("working_dir")

    def py_modules(self) -> list[Any]:
        """The modules."""
        return list(self.get("py_modules") or [])

    def py_modules_uris(self) -> list[Any]:
        """The modules."""
        return self.py_modules()

    def py_executable(self) -> str | None:
        """The command run instead of the interpreter."""
        return self.get("py_executable")

    def env_vars(self) -> dict[str, str]:
        """The environment variables."""
        return dict(self.get("env_vars") or {})

    def has_pip(self) -> bool:
        """Whether pip packages are asked for."""
        return bool(self.get("pip"))

    def pip_config(self) -> dict[str, Any]:
        """What pip is to install."""
        return dict(self.get("pip") or {})

    def pip_uri(self) -> str | None:
        """Name of the environment with these pip packages; None without any."""
        return _content_name("pip", self.get("pip"))

    def has_uv(self) -> bool:
        """Whether uv packages are asked for."""
        return bool(self.get("uv"))

    def uv_config(self) -> dict[str, Any]:
        """What uv is to install."""
        return dict(self.get("uv") or {})

    def uv_uri(self) -> str | None:
        """Name of the environment with these uv packages; None without any."""
        return _content_name("uv", self.get("uv"))

    def virtualenv_name(self) -> str | None:
        """The existing virtual environment to use; None when one is to be made, or none is needed."""
        pip = self.get("pip")
        return pip if isinstance(pip, str) else None

    def has_conda(self) -> bool:
        """Whether a conda environment is asked for."""
        return bool(self.get("conda"))

    def conda_env_name(self) -> str | None:
        """The existing conda environment's name; None when one is described instead."""
        conda = self.get("conda")
        return conda if isinstance(conda, str) else None

    def conda_config(self) -> str | None:
        """The conda environment's description as JSON; None when one is named instead."""
        conda = self.get("conda")
        return json.dumps(conda, sort_keys=True) if isinstance(conda, dict) else None

    def conda_uri(self) -> str | None:
        """Name of the described conda environment; None without one."""
        conda = self.get("conda")
        return _content_name("conda", conda) if isinstance(conda, dict) else None

    def java_jars(self) -> list[str]:
        """The Java archives."""
        return list(self.get("java_jars") or [])

    def has_py_container(self) -> bool:
        """Whether a container is asked for."""
        return bool(self.get("container"))

    def py_container_image(self) -> str | None:
        """The container's image."""
        return (self.get("container") or {}).get("image")

    def py_container_worker_path(self) -> str | None:
        """Path of the worker's program in the container."""
        return (self.get("container") or {}).get("worker_path")

    def py_container_run_options(self) -> list[str] | None:
        """Options of the container's run command."""
        return (self.get("container") or {}).get("run_options")

    def image_uri(self) -> str | None:
        """The image to run in."""
        return self.get("image_uri")

    def nsight(self) -> Any:
        """How to run under Nsight."""
        return self.get("_nsight")

    def rocprof_sys(self) -> Any:
        """How to run under rocprof-sys."""
        return self.get("_rocprof_sys")

    def get_extension(self, key: str) -> Any:
        """A field of the engine's own.

        Raises:
            ValueError: there is no such field.
        """
        if key not in self.extensions_fields:
            raise ValueError(f"Extension key must be one of {sorted(self.extensions_fields)}, got: {key}")
        return self.get(key)

    def plugins(self) -> list[tuple[str, Any]]:
        """The fields of plugins, as (name, value)."""
        return [(name, value) for name, value in self.items() if name not in self.known_fields]

    def plugin_uris(self) -> list[str]:
        """Names of what plugins prepare; they prepare nothing beforehand."""
        return []


def is_dataclass_instance(value: Any) -> bool:
    """Whether a value is an instance of a dataclass."""
    return hasattr(type(value), "__dataclass_fields__")


def _content_name(kind: str, content: Any) -> str | None:
    if not content:
        return None
    import hashlib

    digest = hashlib.sha1(json.dumps(content, sort_keys=True).encode(), usedforsecurity=False).hexdigest()
    return f"{kind}://{digest}"


def _check_together(fields: dict[str, Any]) -> None:
    """Raise ValueError for fields that exclude each other."""
    managers = [name for name in ("pip", "uv", "conda") if fields.get(name)]
    if len(managers) > 1:
        raise ValueError(
            "The 'pip' field, 'uv' field, and 'conda' field of runtime_env cannot be specified at the same time; given "
            f"are {managers}. To use pip with conda, list pip's packages in the conda description."
        )
    for name, allowed in (("container", {"config", "env_vars"}), ("image_uri", {"config", "env_vars"})):
        others = set(fields) - allowed - {name}
        if fields.get(name) and others:
            raise ValueError(
                f"The '{name}' field currently cannot be used together with other fields of runtime_env. Specified "
                f"fields: {others}"
            )
