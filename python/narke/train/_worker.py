"""The actor in which one rank trains.

The training function runs in a thread of its own. What it reports goes to the controller through the stream of
`TrainWorker.train`, so the controller neither asks nor waits longer than the message takes; the controller's answers
are calls of the other methods.
"""

from __future__ import annotations

import os
import pickle
import queue
import socket
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import narke
from narke.train import _session
from narke.train._worker_session import RunAborted, WorkerSession, WorkerSpec

__all__ = ["TrainWorker", "WorkerInfo"]

_BATCH = 500  # events that travel together


@dataclass(frozen=True)
class WorkerInfo:
    """Where a worker runs."""

    node_id: str
    node_ip: str
    hostname: str
    pid: int
    gpu_ids: tuple[Any, ...]
    resources: dict[str, float]


class TrainWorker:
    """One rank; its process trains nothing else."""

    def __init__(self) -> None:
        self._session: WorkerSession | None = None

    def describe(self) -> WorkerInfo:
        """Where this worker runs."""
        context = narke.get_runtime_context()
        return WorkerInfo(
            node_id=context.get_node_id(),
            node_ip=narke.util.get_node_ip_address(),
            hostname=socket.gethostname(),
            pid=os.getpid(),
            gpu_ids=tuple(context.get_accelerator_ids().get("GPU", ())),
            resources=context.get_assigned_resources(),
        )

    def execute(self, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        """Call a function in this process."""
        return fn(*args, **kwargs)

    def train(self, spec: WorkerSpec, function: Callable[[], Any], around: Any) -> Iterator[list[tuple]]:
        """Run the training function; a stream of lists of events.

        Args:
            spec: of this rank.
            function: called without arguments.
            around: makes a context manager in which the function runs.

        Yields:
            ("report", index, metrics, folder, stored, place, validation), ("stored", index, place),
            ("barrier" or "broadcast", number, value), and at the end ("return", value) or ("error", error, text).
        """
        session = self._session = WorkerSession(spec)
        thread = threading.Thread(target=_run, args=(session, function, around), name="training", daemon=True)
        thread.start()
        while True:
            events = _drained(session.events)
            yield events
            if events[-1][0] in ("return", "error"):
                return

    def acknowledge(self, index: int, last: Any, reported: Any) -> None:
        """See `WorkerSession.acknowledge`."""
        if self._session is not None:
            self._session.acknowledge(index, last, reported)

    def collected(self, number: int, value: bytes) -> None:
        """See `WorkerSession.collected`."""
        if self._session is not None:
            self._session.collected(number, value)

    def abort(self) -> None:
        """See `WorkerSession.abort`."""
        if self._session is not None:
            self._session.abort()


def _drained(events: queue.SimpleQueue[tuple]) -> list[tuple]:
    taken = [events.get()]
    while len(taken) < _BATCH and taken[-1][0] not in ("return", "error"):
        try:
            taken.append(events.get_nowait())
        except queue.Empty:
            break
    return taken


def _run(session: WorkerSession, function: Callable[[], Any], around: Any) -> None:
    _session.set_current(session)
    try:
        with around():
            value = function()
        session.finish()
        session.events.put(("return", _returned(value)))
    except RunAborted:
        session.events.put(("error", None, "the attempt was ended"))
    except BaseException as error:  # whatever ends the function ends the rank, and is told
        session.events.put(("error", _portable(error), traceback.format_exc()))
    finally:
        _session.set_current(None)


def _returned(value: Any) -> bytes:
    from narke import cloudpickle

    try:
        return cloudpickle.dumps(value)
    except Exception as error:
        raise TypeError(f"what the training function returned does not pickle: {error}") from error


def _portable(error: BaseException) -> bytes:
    """The error pickled, or one that tells of it if it does not pickle."""
    from narke import cloudpickle

    try:
        data = cloudpickle.dumps(error)
        pickle.loads(data)
        return data
    except Exception:
        return cloudpickle.dumps(RuntimeError(f"{type(error).__name__}: {error}"))
