"""The controller's end of the proxies: one on each node that shall have one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import Any

import narke
from narke._private import preloads
from narke.serve._private.common import NAMESPACE, PROXY_NAME
from narke.serve._private.nodes import Nodes

__all__ = ["Proxies"]

logger = logging.getLogger("ray.serve")
_LOOK_EVERY_S = 5.0
_DRAIN_S = 30.0


class Proxies:
    """Starts and stops the proxies' actors."""

    def __init__(self, options: dict[str, Any], controller: str, nodes: Nodes) -> None:
        self._options = options
        self._nodes = nodes
        self._controller = controller
        self._actors: dict[str, Any] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._looked = 0.0
        self._looking = False

    def port(self) -> int:
        """Where the first of them listens; 0 when there is none."""
        return next((facts["port"] for facts in self._facts.values()), 0)

    def _wanted(self) -> list[str]:
        location = self._options.get("location") or "HeadOnly"
        if location == "Disabled":
            return []
        if location == "HeadOnly":
            return [self._nodes.here]
        return self._nodes.alive

    def are_complete(self) -> bool:
        """Whether each node that shall have a proxy has one that listened."""
        return all(node in self._facts for node in self._wanted())

    async def reconcile(self) -> None:
        """Have a proxy on each node that shall have one; one that fails elsewhere is started again at the next look.

        Raises:
            RuntimeError: this node's cannot listen; the text says why.
        """
        wanted = self._wanted()
        for node in wanted:
            if node not in self._actors:
                self._actors[node] = self._start(node)
        for node, actor in list(self._actors.items()):
            if node not in wanted:
                del self._actors[node]
                self._facts.pop(node, None)
                continue
            try:
                self._facts[node] = await actor.ready.remote()
            except Exception as error:
                with contextlib.suppress(Exception):
                    narke.kill(self._actors.pop(node))
                self._facts.pop(node, None)
                why = str(getattr(error, "cause", None) or error) or repr(error)
                if node == wanted[0]:
                    raise RuntimeError(why) from None
                logger.error("The proxy of node %s does not serve: %s", node, why)

    def _start(self, node: str) -> Any:
        from narke.serve._private.proxy_actor import ProxyActor
        from narke.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        actor = narke.remote(ProxyActor).options(
            name=f"{PROXY_NAME}-{node}",
            namespace=NAMESPACE,
            lifetime="detached",
            num_cpus=self._options.get("num_cpus") or 0,
            max_restarts=-1,
            max_concurrency=100,
            get_if_exists=True,
            _preload=preloads.SERVE,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id=node, soft=False),
        )
        return actor.remote(self._controller, dict(self._options))

    async def keep(self) -> None:
        """Now and then: look at the proxies' health; sooner, where nodes have come or gone."""
        now = time.monotonic()
        if self._looking or not self._is_due(now):
            return
        self._looking, self._looked = True, now
        try:
            await asyncio.wait_for(self.reconcile(), 60)
        except (RuntimeError, asyncio.TimeoutError):
            return  # the next look starts it again
        finally:
            self._looking = False

    def _is_due(self, now: float) -> bool:
        return now - self._looked >= _LOOK_EVERY_S or set(self._wanted()) != set(self._actors)

    def statuses(self) -> dict[str, str]:
        """ProxyStatus by node."""
        return {node: "HEALTHY" if node in self._facts else "STARTING" for node in self._actors}

    def details(self) -> dict[str, dict[str, Any]]:
        """Plain data of ProxyDetails by node."""
        statuses = self.statuses()
        return {
            node: {
                **{
                    k: self._facts.get(node, {}).get(k)
                    for k in ("node_id", "node_ip", "worker_id", "actor_id", "log_file_path")
                },
                "actor_name": f"{PROXY_NAME}-{node}",
                "status": statuses[node],
            }
            for node in self._actors
        }

    async def stop(self) -> None:
        """End all, after what is under way."""
        for actor in self._actors.values():
            with contextlib.suppress(Exception):  # one that is dead already
                await asyncio.wait_for(actor.stop.remote(_DRAIN_S), _DRAIN_S + 5)
            narke.kill(actor)
        self._actors.clear()
