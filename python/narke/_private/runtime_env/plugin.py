"""`RuntimeEnvPlugin`: fields of runtime environments that users add, and how those plugins are found and run."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import os
from collections.abc import Callable
from typing import Any

from narke._private.runtime_env.cache import Cache, content_key
from narke._private.runtime_env.context import RuntimeEnvContext

__all__ = ["RuntimeEnvPlugin", "apply_plugins", "load_plugins"]

_VARIABLE = "RAY_RUNTIME_ENV_PLUGINS"
_PRIORITIES = (0, 100)


class RuntimeEnvPlugin:
    """A field of runtime environments; subclasses name it and say what it does on each node.

    Attributes:
        name: the field.
        priority: 0 to 100; plugins with a smaller one come first.
    """

    name: str | None = None
    priority: int = 10

    @staticmethod
    def validate(runtime_env_dict: dict[str, Any]) -> None:
        """Check the environment; raise ValueError to refuse it."""

    def get_uris(self, runtime_env: Any) -> list[str]:
        """Names of what has to be made for the environment; each is made once on a node."""
        return []

    async def create(
        self, uri: str | None, runtime_env: Any, context: RuntimeEnvContext, logger: logging.Logger
    ) -> float:
        """Make what `uri` names (None: the plugin names nothing); returns its size in bytes."""
        return 0

    def modify_context(
        self, uris: list[str], runtime_env: Any, context: RuntimeEnvContext, logger: logging.Logger
    ) -> None:
        """Change how the environment's workers are started."""

    def delete_uri(self, uri: str, logger: logging.Logger) -> float:
        """Remove what `create` made for `uri`; returns its size in bytes."""
        return 0


def load_plugins() -> list[RuntimeEnvPlugin]:
    """The plugins of RAY_RUNTIME_ENV_PLUGINS, a JSON list of {"class": "module.Class", "priority": 10}, in order.

    Raises:
        RuntimeError: the variable, or a class, is not as it must be.
    """
    text = os.environ.get(_VARIABLE)
    if not text:
        return []
    try:
        plugins = [_load(entry) for entry in json.loads(text)]
    except (ValueError, TypeError) as error:
        raise RuntimeError(f"{_VARIABLE} must be a JSON list of objects with 'class': {error}") from error
    names = [plugin.name for plugin in plugins]
    for name in names:
        if names.count(name) > 1:
            raise RuntimeError(f"{_VARIABLE} names several plugins of the field {name!r}")
    return sorted(plugins, key=lambda plugin: plugin.priority)


def _load(entry: dict[str, Any]) -> RuntimeEnvPlugin:
    module, _, name = str(entry["class"]).rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and issubclass(found, RuntimeEnvPlugin)):
        raise RuntimeError(f"Invalid runtime env plugin class {found}: it must inherit RuntimeEnvPlugin.")
    if not found.name:
        raise RuntimeError(f"No valid name in runtime env plugin {found}.")
    plugin = found()
    plugin.priority = entry.get("priority", plugin.priority)
    low, high = _PRIORITIES
    if not isinstance(plugin.priority, int) or not low <= plugin.priority <= high:
        raise RuntimeError(
            f"Invalid runtime env priority {plugin.priority} of {found}: it must be from {low} to {high}."
        )
    return plugin


def apply_plugins(env: Any, context: RuntimeEnvContext, folder: str, logger: logging.Logger) -> list[str]:
    """Let the plugins of an environment's fields do their work; returns the lock files that keep what they made.

    Args:
        env: the `RuntimeEnv`.
        context: changed by them.
        folder: where what they made is noted.
        logger: given to them.

    Raises:
        RuntimeError: a field has no plugin.
    """
    fields = dict(env.plugins())
    if not fields:
        return []
    plugins = load_plugins()
    missing = sorted(set(fields) - {plugin.name for plugin in plugins})
    if missing:
        raise RuntimeError(
            f"runtime env plugin {', '.join(missing)} not found: no field of runtime_env is called so, and "
            f"{_VARIABLE} of this node names no plugin for it"
        )
    held: list[str] = []
    for plugin in plugins:
        if plugin.name in fields:
            type(plugin).validate(dict(env))
            held += _run(plugin, env, context, folder, logger)
    return held


def _run(
    plugin: RuntimeEnvPlugin, env: Any, context: RuntimeEnvContext, folder: str, logger: logging.Logger
) -> list[str]:
    uris = list(plugin.get_uris(env))
    cache = Cache(folder, str(plugin.name))
    if not uris:
        asyncio.run(plugin.create(None, env, context, logger))
    for uri in uris:
        cache.use(content_key(uri), _maker(plugin, uri, env, context, logger), _remover(plugin, logger))
    plugin.modify_context(uris, env, context, logger)
    _kept.append(cache)
    return cache.held


_kept: list[Cache] = []  # until this process ends


def _maker(
    plugin: RuntimeEnvPlugin, uri: str, env: Any, context: RuntimeEnvContext, logger: logging.Logger
) -> Callable[[str], int]:
    def make(path: str) -> int:
        os.makedirs(path)
        with open(os.path.join(path, "uri"), "w", encoding="utf-8") as file:
            file.write(uri)
        try:
            return int(asyncio.run(plugin.create(uri, env, context, logger)))
        except BaseException:
            plugin.delete_uri(uri, logger)
            raise

    return make


def _remover(plugin: RuntimeEnvPlugin, logger: logging.Logger) -> Callable[[str], None]:
    def remove(path: str) -> None:
        with open(os.path.join(path, "uri"), encoding="utf-8") as file:
            plugin.delete_uri(file.read(), logger)

    return remove
