"""The actor that brings deployments to their targets: a shell around `DeploymentState` and `Autoscaler`.

Its state is in the cluster's key-value table; when its process ends, the engine starts it again and it takes over the
replicas that run. Requests do not pass through it: proxies and handles keep the last table they were told.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import logging
import os
import time
import traceback
from typing import Any

import narke
from narke._private import async_actor
from narke.serve._private import applications, shared_actors, tables
from narke.serve._private.common import (
    NAMESPACE,
    ApplicationStatus,
    DeploymentID,
    ReplicaID,
    ReplicaState,
)
from narke.serve._private.deployment_state import DeploymentState, Order, ReplicaRecord
from narke.serve._private.figures import figures
from narke.serve._private.metrics_text import deployments_text, merge, prefixed
from narke.serve._private.nodes import Nodes
from narke.serve._private.proxies import Proxies
from narke.serve._private.replicas import ReplicaLink
from narke.serve._private.scaling import Scaling
from narke.serve._private.status import details_from
from narke.serve._private.storage import Storage
from narke.serve._private.targets import AppTarget
from narke.serve.exceptions import RayServeException

__all__ = ["Controller"]

logger = logging.getLogger("ray.serve")
_IDLE_STEP_S = 0.25
_TELL_EVERY_S = 0.5
_COUNT_EVERY_S = 2.0
_PIECE = 60 << 10


class Controller:
    """Accepts applications, keeps their replicas, tells routers."""

    def __init__(self, options: dict[str, Any]) -> None:
        self._storage = Storage()
        saved = self._storage.load()
        self._options = saved.get("options") or options
        self._apps: dict[str, applications.AppState] = saved.get("apps") or {}
        self._states: dict[str, DeploymentState] = {}
        self._links: dict[str, ReplicaLink] = {}
        self._scaling = Scaling()
        self._version = time.time_ns() // 1000  # greater than any version of an earlier controller
        self._table: dict[str, Any] = {}
        self._packed = b""
        self._waiting_proxies: list[Any] = []
        self._waiting_handles: list[Any] = []
        self._watchers: list[asyncio.Future[None]] = []
        self._kick = asyncio.Event()
        self._saved_replicas: dict[str, dict[str, Any]] = saved.get("replicas") or {}
        self._deploys: dict[str, asyncio.Task[None]] = {}
        self._reports: dict[str, dict[str, Any]] = {}
        self._background: set[asyncio.Task[Any]] = set()
        self._loop_task: asyncio.Task[None] | None = None
        self._proxies: Proxies | None = None
        self._started_at = time.time()
        self._nodes = Nodes()
        self._is_shut_down = False
        self._told = ""
        self._told_at = 0.0
        self._counted = ""
        self._counted_at = 0.0

    # ---- life ----

    async def start(self) -> dict[str, Any]:
        """Begin, or go on after a restart; once.

        Returns:
            the HTTP options in force, with the port that the proxy of the head node has.

        Raises:
            RuntimeError: a proxy cannot listen.
        """
        self._begin()
        assert self._proxies is not None
        if not self._proxies.are_complete():  # later on `keep` looks after them
            await self._proxies.reconcile()
        return {**self._options, "port": self._proxies.port() or self._options["port"]}

    def _begin(self) -> None:
        """Start working, if that is still to be done: after a restart the first to ask is a proxy or a handle."""
        if self._loop_task is not None:
            return
        self._loop_task = asyncio.get_running_loop().create_task(self._run())
        self._recover()
        self._nodes.look(time.monotonic())
        self._proxies = Proxies(self._options, narke.get_runtime_context().get_actor_id(), self._nodes)
        self._storage.save_options(self._options)

    def _recover(self) -> None:
        now = time.monotonic()
        for app in self._apps.values():
            for target in app.targets.values():
                self._states[target.key] = DeploymentState(
                    self._storage.load_payload(target), now, self._options.get("target_capacity")
                )
                if app.is_deleting:
                    self._states[target.key].delete()
                else:
                    self._scaling.set(target, self._states[target.key], recovered=True)
        for replica_id, saved in self._saved_replicas.items():
            self._adopt(replica_id, saved, now)
        for app in list(self._apps.values()):
            if app.pending_config is not None:
                self._begin_build(app, app.pending_config)
        self._publish()

    def _adopt(self, replica_id: str, saved: dict[str, Any], now: float) -> None:
        state = self._states.get(saved["key"])
        name = ReplicaID(replica_id, DeploymentID.from_key(saved["key"])).actor_name
        try:
            handle = narke.get_actor(name, namespace=NAMESPACE)
        except ValueError:
            return
        if state is None or not saved["running"]:  # it was starting or draining: a new one is simpler
            narke.kill(handle)
            return
        record = ReplicaRecord(
            replica_id,
            saved["version"],
            saved["config_hash"],
            ReplicaState.RUNNING,
            now,
            saved["rank"],
            saved["gang"],
            is_alive=True,
        )
        record.facts = saved["facts"]
        state.adopt(record)
        self._links[replica_id] = ReplicaLink(handle, record, state.target, self)

    async def _run(self) -> None:
        while not self._is_shut_down:
            try:
                self._step()
            except Exception:
                logger.exception("The controller could not take a step; it goes on.")
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._kick.wait(), _IDLE_STEP_S)
            self._kick.clear()

    def changed(self) -> None:
        """Something happened: look at it soon."""
        self._kick.set()

    def _step(self) -> None:
        now = time.monotonic()
        self._nodes.look(now)
        crowds = collections.Counter(
            record.facts["node_id"] for state in self._states.values() for record in state.serving()
        )
        for key, state in list(self._states.items()):
            state.see_nodes(self._nodes.here, self._nodes.draining, crowds)
            self._scaling.apply(key, state, self._reports, now)
            for order in state.step(now):
                self._carry_out(key, state, order)
            if state.is_gone():
                shared_actors.stop(state.target)
                del self._states[key]
                self._scaling.forget(key)
        for name, app in list(self._apps.items()):
            app.update(self._states)
            if app.is_gone(self._states):
                del self._apps[name]
                self._storage.save_apps(self._apps)
        self._publish()
        if (facts := self._replica_facts()) != self._saved_replicas:
            self._saved_replicas = facts
            self._storage.save_replicas(facts)
        if self._proxies is not None:
            self._spawn(self._proxies.keep())
        self._tell_others(now)
        self._wake_watchers()

    def _wake_watchers(self) -> None:
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _tell_others(self, now: float) -> None:
        """Keep what the REST API shows where the gateway finds it."""
        if now - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = now
        text = json.dumps(details_from(self._details()))
        if text != self._told:
            self._told = text
            self._storage.save_details(text)
        self._tell_figures(now)

    def _tell_figures(self, now: float) -> None:
        """Keep what the dashboard and Prometheus show of traffic there, too."""
        if now - self._counted_at < _COUNT_EVERY_S:
            return
        self._counted_at = now
        proxies = self._proxy_metrics()
        if (metrics := self._metrics(proxies)) == self._counted:
            return
        self._counted = metrics
        shown = figures(proxies, self._states, time.time())
        self._storage.save_figures(json.dumps(shown), prefixed(metrics, "ray_"))

    def _replica_facts(self) -> dict[str, dict[str, Any]]:
        return {
            record.id: {
                "key": key,
                "version": record.version,
                "config_hash": record.config_hash,
                "rank": record.rank,
                "gang": record.gang,
                "facts": record.facts,
                "running": record.state in (ReplicaState.RUNNING, ReplicaState.UPDATING),
            }
            for key, state in self._states.items()
            for record in state.replicas.values()
        }

    def _spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def _carry_out(self, key: str, state: DeploymentState, order: Order) -> None:
        record = state.replicas[order.replica]
        if order.what == "start":
            self._links[record.id] = ReplicaLink.start(record, state.target, self)
            return
        link = self._links.get(record.id)
        if link is None:
            state.on_gone(record.id, "its actor is not known any more", time.monotonic())
        elif order.what == "reconfigure":
            self._spawn(link.reconfigure(state.target))
        elif order.what == "stop":
            self._publish()  # routers are told first
            self._spawn(link.stop(state.target))
        else:
            link.kill()

    def state_of(self, key: str) -> DeploymentState | None:
        """The deployment with that key."""
        return self._states.get(key)

    def on_numbers(self, key: str, replica_id: str, numbers: dict[str, Any]) -> None:
        """A replica has told how it is."""
        self._scaling.on_numbers(key, replica_id, numbers, time.monotonic())
        state = self._states.get(key)
        if state is not None and state.on_numbers(replica_id, numbers):
            self.changed()

    def on_gone(self, key: str, replica_id: str, why: str) -> None:
        """A replica's process has ended."""
        link = self._links.pop(replica_id, None)
        if link is not None and link.gang_group not in {other.gang_group for other in self._links.values()}:
            link.remove_gang_group()
        if state := self._states.get(key):
            state.on_gone(replica_id, why, time.monotonic())
        self.changed()

    # ---- routing tables ----

    def _publish(self) -> None:
        actors = {replica_id: link.actor_id for replica_id, link in self._links.items()}
        timeout_s = self._options.get("request_timeout_s")
        root = self._options.get("root_path") or ""
        routes = [
            (tables.mounted(root, app.route_prefix), app.name, f"{app.name}#{app.ingress}")
            for app in self._apps.values()
            if app.route_prefix is not None
            and not app.is_deleting
            and f"{app.name}#{app.ingress}" in self._states
        ]
        table = tables.build(0, self._states, actors, routes, round((timeout_s or 0) * 1000))
        if table == self._table:
            return
        self._table = table
        self._version += 1
        self._packed = narke._private.session.native().pack(
            {**tables.for_proxies(table), "version": self._version}
        )
        for call in self._waiting_proxies:
            self._send_table(call)
        for call in self._waiting_handles:
            call.finish((self._version, self._table))
        self._waiting_proxies.clear()
        self._waiting_handles.clear()

    @async_actor.direct
    def serve_routes(self, call: Any) -> None:
        """The routing table for a proxy, as soon as it is another than the version it has."""
        self._begin()
        if call.args[0][0] != self._version and self._packed:
            self._send_table(call)
        else:
            self._waiting_proxies.append(call)
            self._wake_watchers()

    def _send_table(self, call: Any) -> None:
        rest = self._packed
        while len(rest) > _PIECE:
            call.yield_value(rest[:_PIECE])
            rest = rest[_PIECE:]
        call.finish(rest)

    @async_actor.direct
    def serve_table(self, call: Any) -> None:
        """The same for handles."""
        self._begin()
        if call.args[0] != self._version and self._table:
            call.finish((self._version, self._table))
        else:
            self._waiting_handles.append(call)

    @async_actor.direct
    def serve_report(self, call: Any) -> None:
        """A proxy's queues and metrics."""
        node, queues, ongoing, metrics = call.args[0]
        self._reports[f"proxy:{node}"] = {"queues": dict(queues), "ongoing": ongoing, "metrics": metrics}
        self._on_queues(f"proxy:{node}", dict(queues))
        call.finish(None)

    async def report_queues(self, source: str, queues: dict[str, int]) -> None:
        """Requests that wait in a process's handles."""
        self._on_queues(source, queues)

    def _on_queues(self, source: str, queues: dict[str, int]) -> None:
        now = time.monotonic()
        if self._scaling.on_queues(source, queues, now):
            self.changed()

    # ---- applications ----

    async def deploy_apps(self, apps: list[AppTarget]) -> None:
        """Bring applications about; returns at once.

        Raises:
            ValueError: a route prefix is taken by another application.
        """
        self._check_routes(apps)
        for app in apps:
            self._set_app(app)
        self._storage.save_apps(self._apps)
        self.changed()

    def _check_routes(self, apps: list[AppTarget]) -> None:
        replaced = {app.name for app in apps}
        taken = {
            app.route_prefix: app.name
            for app in self._apps.values()
            if app.name not in replaced and app.route_prefix is not None and not app.is_deleting
        }
        for app in apps:
            if app.route_prefix in taken:
                raise RayServeException(
                    f'Prefix {app.route_prefix} is being used by application "{taken[app.route_prefix]}". Failed to '
                    f'deploy application "{app.name}".'
                )
            if app.route_prefix is not None:
                taken[app.route_prefix] = app.name

    def _set_app(self, target: AppTarget) -> None:
        now = time.monotonic()
        app = self._apps.get(target.name)
        if app is None or app.is_deleting:
            app = self._apps[target.name] = applications.AppState(target.name)
        app.set_target(target)
        wanted = {deployment.key for deployment in target.deployments}
        for deployment in target.deployments:
            self._storage.save_payload(deployment)
            shared_actors.start(deployment)
            state = self._states.get(deployment.key)
            if state is None:
                state = self._states[deployment.key] = DeploymentState(
                    deployment, now, self._options.get("target_capacity")
                )
            else:
                state.set_target(deployment, now)
            self._scaling.set(deployment, state)
        for key, state in self._states.items():
            if key.startswith(f"{target.name}#") and key not in wanted:
                state.delete()

    async def delete_apps(self, names: list[str]) -> None:
        """Take applications down; returns at once. Unknown names are nothing to do."""
        for name in names:
            app = self._apps.get(name)
            if app is None:
                continue
            app.delete()
            if task := self._deploys.pop(name, None):
                task.cancel()
            for key, state in self._states.items():
                if key.startswith(f"{name}#"):
                    state.delete()
        self._publish()
        self._storage.save_apps(self._apps)
        self.changed()

    # ---- declarative config ----

    async def deploy_config(self, config: dict[str, Any]) -> None:
        """Bring about what a ServeDeploySchema says: its applications and no others that came from such a config."""
        names = {app["name"] for app in config["applications"]}
        gone = [app.name for app in self._apps.values() if app.config is not None and app.name not in names]
        await self.delete_apps(gone)
        self._options["target_capacity"] = config.get("target_capacity")
        for state in self._states.values():
            state.set_capacity(config.get("target_capacity"))
        self._options["deploy_config"] = config
        self._storage.save_options(self._options)
        for app_config in config["applications"]:
            app = self._apps.get(app_config["name"])
            if app is None or app.is_deleting:
                app = self._apps[app_config["name"]] = applications.AppState(app_config["name"])
            self._begin_build(app, app_config)
        self._storage.save_apps(self._apps)

    def _begin_build(self, app: applications.AppState, config: dict[str, Any]) -> None:
        app.set_building(config)
        if old := self._deploys.pop(app.name, None):
            old.cancel()
        self._deploys[app.name] = asyncio.get_running_loop().create_task(self._build(app, config))

    async def _build(self, app: applications.AppState, config: dict[str, Any]) -> None:
        from narke.serve._private.build import build_in_task

        try:
            target = await build_in_task(config)
            self._check_routes([target])
            self._set_app(target)
            app.pending_config = None
        except asyncio.CancelledError:
            raise
        except Exception as error:
            cause = getattr(error, "cause", None) or error
            text = "".join(traceback.format_exception(type(cause), cause, cause.__traceback__))
            app.fail(f"Deploying application '{app.name}' failed:\n{text}")
        self._storage.save_apps(self._apps)
        self.changed()

    async def set_replicas(self, app_name: str, deployment: str, count: int) -> None:
        """Scale a deployment from outside.

        Raises:
            ValueError: there is no such deployment, or its application does not let others scale it.
        """
        state = self._states.get(f"{app_name}#{deployment}")
        if state is None:
            raise ValueError(f"There is no deployment {deployment!r} in application {app_name!r}.")
        if not self._apps[app_name].external_scaler:
            raise ValueError(
                f"Application {app_name!r} has external_scaler_enabled=False: deploy it with True to scale "
                "it from outside."
            )
        state.scale(count)
        self.changed()

    # ---- questions ----

    async def status(self) -> dict[str, Any]:
        """All applications and proxies as plain data; see `narke.serve._private.status`."""
        self._begin()
        return {
            "proxies": self._proxies.statuses() if self._proxies else {},
            "applications": {name: app.status_of(self._states) for name, app in self._apps.items()},
            "target_capacity": self._options.get("target_capacity"),
            "routes_delivered": self._are_routes_delivered(),
            "table_version": self._version,
        }

    async def settled(self, names: list[str], timeout_s: float) -> dict[str, Any]:
        """`status`, once the applications run (or are gone) and the proxies know, or one has failed, or time is up."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        while not self._is_settled(names) and loop.time() < deadline:
            watcher = loop.create_future()
            self._watchers.append(watcher)
            await asyncio.wait([watcher], timeout=deadline - loop.time())
        return await self.status()

    def _is_settled(self, names: list[str]) -> bool:
        found = {self._apps[name].status for name in names if name in self._apps}
        if ApplicationStatus.DEPLOY_FAILED in found:
            return True
        return found <= {ApplicationStatus.RUNNING} and self._are_routes_delivered()

    def _are_routes_delivered(self) -> bool:
        """Whether every proxy has the present table: one that has waits for the next."""
        proxies = self._proxies.statuses() if self._proxies is not None else {}
        return len(self._waiting_proxies) >= len(proxies)

    async def details(self) -> dict[str, Any]:
        """Everything for the REST API, as plain data."""
        return self._details()

    def _details(self) -> dict[str, Any]:
        here = narke.get_runtime_context()
        return {
            "controller": {
                "node_id": here.get_node_id(),
                "actor_id": here.get_actor_id(),
                "worker_id": here.get_worker_id(),
            },
            "options": {k: v for k, v in self._options.items() if k != "deploy_config"},
            "proxies": self._proxies.details() if self._proxies else {},
            "applications": {name: app.details_of(self._states) for name, app in self._apps.items()},
            "deploy_config": self._options.get("deploy_config"),
        }

    async def deployment_info(self, key: str) -> dict[str, Any] | None:
        """What a handle asks before it is made: None when there is no such deployment."""
        state = self._states.get(key)
        return None if state is None or state.is_deleting else {"is_ingress": state.target.is_ingress}

    async def app_ingress(self, name: str) -> str | None:
        """Name of an application's ingress deployment; None when there is no such application."""
        app = self._apps.get(name)
        return None if app is None or app.is_deleting else app.ingress

    async def metrics(self) -> str:
        """Prometheus text: the proxies' and the deployments'."""
        return self._metrics(self._proxy_metrics())

    def _metrics(self, proxies: str) -> str:
        return merge([proxies, deployments_text(self._states, self._apps)])

    def _proxy_metrics(self) -> str:
        return merge([r["metrics"] for r in self._reports.values() if r.get("metrics")])

    async def http_options(self) -> dict[str, Any]:
        """The options in force."""
        return {k: v for k, v in self._options.items() if k != "deploy_config"}

    def tracing(self) -> dict[str, Any] | None:
        """What replicas are told of traces; see `narke.serve._private.tracing`."""
        return self._options.get("tracing")

    async def pid(self) -> int:
        """This process."""
        return os.getpid()

    async def shut_down(self) -> None:
        """Take everything down. The caller ends this actor afterwards."""
        await self.delete_apps(list(self._apps))
        deadline = time.monotonic() + 60
        while (self._states or self._links) and time.monotonic() < deadline:
            self.changed()
            await asyncio.sleep(0.02)
        if self._proxies is not None:
            await self._proxies.stop()
        self._is_shut_down = True
        self._storage.clear()
