"""`get_runtime_context`: what a program, task or actor can find out about itself."""

from __future__ import annotations

import json
import os
from typing import Any

from narke._private import session

__all__ = ["RuntimeContext", "get_gpu_ids", "get_runtime_context"]

_ACCELERATORS = ("TPU", "neuron_cores", "RBLN", "FURIOSA", "GPU", "HPU", "NPU", "MBLT", "TTNPU")


class RuntimeContext:
    """Facts about the caller: made anew by `get_runtime_context`, true while the caller runs.

    Args:
        worker: the session it speaks of.
    """

    def __init__(self, worker: Any) -> None:
        self.worker = worker

    def _now(self) -> dict[str, Any]:
        return session.native().current()

    def _check_worker(self, error: type[Exception] = AssertionError) -> dict[str, Any]:
        if self.worker.mode != session.WORKER_MODE:
            raise error(
                f"This method is only available when the process is a worker. Current mode: {self.worker.mode}"
            )
        return self._now()

    def get(self) -> dict[str, Any]:
        """The ids of job, node, task and actor, and the namespace, by name; without those that do not apply."""
        from narke.ids import ActorID, TaskID

        now = self._now()
        facts = {"job_id": self.job_id, "node_id": self.node_id, "namespace": self.namespace}
        if self.worker.mode == session.WORKER_MODE:
            if now["task_id"]:
                facts["task_id"] = TaskID(now["task_id"])
            if now["actor_id"]:
                facts["actor_id"] = ActorID(now["actor_id"])
        return facts

    @property
    def job_id(self) -> Any:
        """The job as a `JobID`; prefer `get_job_id`."""
        from narke.ids import JobID

        return JobID(self._now()["job_id"])

    def get_job_id(self) -> str:
        """The job's id in hex."""
        return self._now()["job_id"].hex()

    @property
    def node_id(self) -> Any:
        """The node as a `NodeID`; prefer `get_node_id`."""
        from narke.ids import NodeID

        return NodeID(self._now()["node_id"])

    def get_node_id(self) -> str:
        """The id of the caller's node in hex."""
        return self._now()["node_id"].hex()

    def get_worker_id(self) -> str:
        """The id of the caller's process in hex."""
        return self._now()["worker_id"].hex()

    @property
    def task_id(self) -> Any:
        """The running task as a `TaskID`, nil in drivers; prefer `get_task_id`."""
        from narke.ids import TaskID

        task = self._own_task()
        return TaskID(task) if task else TaskID.nil()

    def _own_task(self) -> bytes:
        return self._now()["task_id"] if self.worker.mode == session.WORKER_MODE else b""

    def get_task_id(self) -> str | None:
        """The running task's id in hex; None in drivers."""
        return self._own_task().hex() or None

    def get_task_name(self) -> str | None:
        """The running task's name; None in drivers."""
        return self._now().get("task_name") or None if self._own_task() else None

    def get_task_function_name(self) -> str | None:
        """The running function with its module; None in drivers."""
        if not self._own_task():
            return None
        now = self._now()
        name, module = now.get("function_name"), now.get("module")
        if not name or not module or name.startswith(f"{module}."):
            return name or None
        return f"{module}.{name}"

    @property
    def actor_id(self) -> Any:
        """The actor as an `ActorID`, nil outside of one; prefer `get_actor_id`."""
        from narke.ids import ActorID

        actor = self._now()["actor_id"]
        return ActorID(actor) if actor else ActorID.nil()

    def get_actor_id(self) -> str | None:
        """The actor's id in hex; None outside of an actor."""
        return self._now()["actor_id"].hex() or None

    def get_actor_name(self) -> str | None:
        """The name the actor was created with, ``""`` without one; None outside of an actor."""
        now = self._now()
        return now.get("actor_name", "") if now["actor_id"] else None

    @property
    def namespace(self) -> str:
        """Where named actors of this job live."""
        return str(self.worker.namespace)

    @property
    def was_current_actor_reconstructed(self) -> bool:
        """Whether this actor is running again after a restart.

        Raises:
            AssertionError: the caller is a driver.
            RuntimeError: the caller is no actor.
        """
        now = self._check_worker()
        if not now["actor_id"]:
            raise RuntimeError("This method is only available in an actor.")
        return now.get("restarts", 0) > 0

    @property
    def current_placement_group_id(self) -> Any:
        """The placement group as a `PlacementGroupID`, nil outside of one; prefer `get_placement_group_id`."""
        from narke.ids import PlacementGroupID

        group = self._now().get("pg_id")
        return PlacementGroupID(group) if group else PlacementGroupID.nil()

    def get_placement_group_id(self) -> str | None:
        """The id of the caller's placement group in hex; None outside of one."""
        return (self._now().get("pg_id") or b"").hex() or None

    @property
    def should_capture_child_tasks_in_placement_group(self) -> bool:
        """Whether what the caller submits runs in its placement group."""
        return bool(self._now().get("capture"))

    def get_assigned_resources(self) -> dict[str, float]:
        """What the caller holds, by resource name.

        Raises:
            AssertionError: the caller is a driver.
        """
        return dict(self._check_worker()["resources"])

    def get_resource_ids(self) -> dict[str, list[str]]:
        """The indices of the accelerators the caller holds, by kind."""
        return self.get_accelerator_ids()

    def get_accelerator_ids(self) -> dict[str, list[str]]:
        """The indices of the accelerators the caller holds, by kind; in drivers those that are visible."""
        found: dict[str, list[str]] = {kind: [] for kind in _ACCELERATORS}
        for kind, indices in self._now().get("instances", {}).items():
            if kind in found:
                found[kind] = _visible_names(kind, indices)
        return found

    def get_runtime_env_string(self) -> str:
        """The caller's runtime environment as JSON."""
        return json.dumps(self.worker.runtime_env)

    @property
    def runtime_env(self) -> Any:
        """The caller's runtime environment as a `narke.runtime_env.RuntimeEnv`."""
        from narke.runtime_env import RuntimeEnv

        return RuntimeEnv.deserialize(self.get_runtime_env_string())

    @property
    def current_actor(self) -> Any:
        """A handle of the actor the caller runs in.

        Raises:
            RuntimeError: the caller is no actor.
        """
        from narke._private.control import own_handle

        return own_handle()

    @property
    def gcs_address(self) -> str:
        """The cluster's address."""
        return str(self.worker.address_info.get("gcs_address"))

    def get_node_labels(self) -> dict[str, str]:
        """The labels of the caller's node."""
        from narke._private import state

        here = self.get_node_id()
        return next((dict(node["Labels"]) for node in state.nodes() if node["NodeID"] == here), {})

    def get_session_name(self) -> str:
        """The name of the cluster's session folder."""
        return os.path.basename(self._session_dir())

    def get_temp_dir(self) -> str:
        """The folder that holds the session folders."""
        return os.path.dirname(self._session_dir())

    def _session_dir(self) -> str:
        return str(self.worker.info.get("session_dir") or self.worker.address_info.get("session_dir"))

    def is_canceled(self) -> bool:
        """Whether someone cancelled the running task.

        Raises:
            RuntimeError: the caller is a driver, or runs on the event loop of an async actor: a cancelled coroutine
                gets an `asyncio.CancelledError`.
        """
        from narke._private import async_actor

        if async_actor.is_running():
            raise RuntimeError("This method is not supported in an async actor.")
        return bool(self._check_worker(RuntimeError).get("cancelled", False))


def _visible_names(kind: str, indices: list[int]) -> list[str]:
    if kind != "GPU":
        return [str(index) for index in indices]
    from narke._private.execution import gpu_names

    return gpu_names(indices)


def get_runtime_context() -> RuntimeContext:
    """The context of the caller; connects when nothing is connected yet.

    Returns:
        a `RuntimeContext`.
    """
    return RuntimeContext(session.connected())


def get_gpu_ids() -> list[Any]:
    """The GPUs the caller holds; in drivers those that are visible.

    Returns:
        numbers, or texts where CUDA_VISIBLE_DEVICES names GPUs otherwise.
    """
    here = session.connected()
    if here.mode != session.WORKER_MODE:
        from narke._private.machine import gpu_ids

        names = gpu_ids() if os.environ.get("CUDA_VISIBLE_DEVICES") is not None else []
    else:
        names = get_runtime_context().get_accelerator_ids()["GPU"]
    return [int(name) if name.isdigit() else name for name in names]
