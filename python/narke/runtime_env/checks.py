"""Checks of the fields of a runtime environment: each returns the value in its one normal form."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

__all__ = ["OPTION_TO_VALIDATION_FN"]

_ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar.xz")
_WHEELS = (*_ARCHIVES, ".whl")


def _is_uri(text: str) -> bool:
    return "://" in text


def check_working_dir(value: Any) -> str:
    """A directory or archive that exists here, or the URI of an archive.

    Raises:
        TypeError, ValueError: it is neither.
    """
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"`working_dir` must be a string, got {type(value)}.")
    return _check_place(os.fspath(value), "working_dir", _ARCHIVES)


def _check_place(text: str, field: str, endings: tuple[str, ...]) -> str:
    if _is_uri(text):
        if not text.endswith(endings):
            known = ", ".join(endings)
            raise ValueError(f"Only {known} files are supported for {field} URIs; got {text}.")
        return text
    path = os.path.expanduser(text)
    if not os.path.exists(path):
        raise ValueError(f"{text} is not a valid path.")
    return text


def check_py_modules(value: Any) -> list[Any]:
    """Modules, or places of packages and wheels.

    Raises:
        TypeError, ValueError: an entry is something else.
    """
    if not isinstance(value, list):
        raise TypeError(f"`py_modules` must be a list of strings, got {type(value)}.")
    return [_check_module(entry) for entry in value]


def _check_module(entry: Any) -> Any:
    if isinstance(entry, (str, os.PathLike)):
        return _check_place(os.fspath(entry), "py_modules", _WHEELS)
    if hasattr(entry, "__path__") or hasattr(entry, "__file__"):
        return entry
    raise TypeError(f"`py_modules` must hold modules, or strings that say where they are, got {type(entry)}.")


def check_env_vars(value: Any) -> dict[str, str]:
    """Environment variables.

    Raises:
        TypeError: not a dict of strings to strings.
    """
    if not isinstance(value, dict):
        raise TypeError(f"runtime_env['env_vars'] must be of type Dict[str, str], got {type(value)}")
    for name, text in value.items():
        if not isinstance(name, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the key {name} is of type {type(name)}"
            )
        if not isinstance(text, str):
            raise TypeError(
                f"runtime_env['env_vars'] must be of type Dict[str, str], but the value {text} is of type {type(text)}"
            )
    return dict(value)


def check_excludes(value: Any) -> list[str]:
    """Patterns of files to leave out.

    Raises:
        TypeError: not a list of strings.
    """
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise TypeError(f"runtime_env['excludes'] must be of type List[str], got {type(value)}")
    return list(value)


def _check_packages(field: str, check_name: str) -> Callable[[Any], dict[str, Any]]:
    def check(value: Any) -> dict[str, Any]:
        if isinstance(value, str):
            with open(os.path.expanduser(value), encoding="utf-8") as file:
                lines = [line.strip() for line in file]
            return {
                "packages": [line for line in lines if line and not line.startswith("#")],
                check_name: False,
            }
        if isinstance(value, list):
            return {"packages": list(value), check_name: False}
        if isinstance(value, dict):
            if not isinstance(value.get("packages"), list):
                raise ValueError(
                    f"runtime_env[{field!r}] must have the key 'packages' with a list of requirements"
                )
            return {check_name: False, **value}
        raise TypeError(f"runtime_env[{field!r}] must be of type str, List[str] or dict, got {type(value)}")

    return check


def check_conda(value: Any) -> Any:
    """The name of an environment, the path of its file, or its description.

    Raises:
        TypeError, ValueError: something else, or a file that is not there.
    """
    if isinstance(value, dict):
        return value
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"runtime_env['conda'] must be of type dict or str, got {type(value)}")
    text = os.fspath(value)
    if text.endswith((".yml", ".yaml")) and not os.path.isfile(os.path.expanduser(text)):
        raise ValueError(f"Can't find conda YAML file {text}.")
    return text


def check_text(field: str) -> Callable[[Any], str]:
    """A check that a field is a string."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError(f"runtime_env[{field!r}] must be of type str, got {type(value)}")
        return value

    return check


def check_hook(value: Any) -> Any:
    """A callable, or the ``module.function`` of one.

    Raises:
        TypeError: something else.
    """
    if callable(value) or isinstance(value, dict) or (isinstance(value, str) and "." in value):
        return value
    raise TypeError(
        f"runtime_env['worker_process_setup_hook'] must be a callable or 'module.function', got {value!r}"
    )


OPTION_TO_VALIDATION_FN: dict[str, Callable[[Any], Any]] = {
    "py_modules": check_py_modules,
    "working_dir": check_working_dir,
    "excludes": check_excludes,
    "conda": check_conda,
    "pip": _check_packages("pip", "pip_check"),
    "uv": _check_packages("uv", "uv_check"),
    "env_vars": check_env_vars,
    "py_executable": check_text("py_executable"),
    "image_uri": check_text("image_uri"),
    "worker_process_setup_hook": check_hook,
}
