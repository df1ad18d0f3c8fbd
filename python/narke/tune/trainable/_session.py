"""The session of a trial's function: how what it reports reaches the trainable, and how it is told to end.

`Session.report` runs in the function's thread and waits until the trainable is asked for the next step, so that a
function never runs on beyond a result after which it is stopped. Where no result can stop a trial (`TrialInfo.ahead`),
it only waits until the result before was taken: the function computes while the driver sees to what it reported.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from narke.tune._checkpoints import TrainingResult

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint
    from narke.train._storage import StorageContext
    from narke.tune.execution.placement_groups import PlacementGroupFactory

__all__ = ["Session", "TrialInfo", "get_session", "set_session"]


@dataclass
class TrialInfo:
    """What a trial's worker knows of it.

    Args:
        experiment_name, trial_id, trial_name: names.
        trial_dir: its folder in the storage.
        local_dir: its folder on this machine.
        resources: what it holds.
        storage_blob: the pickled `StorageContext` of the experiment, unpickled when a checkpoint is made.
        dirname: the name of `trial_dir`.
        checkpoint_index: of its last checkpoint, -1 before the first.
        ahead: whether its function may run on while its last result is on its way.
    """

    experiment_name: str | None = None
    trial_id: str | None = None
    trial_name: str | None = None
    trial_dir: str | None = None
    local_dir: str | None = None
    resources: PlacementGroupFactory | None = None
    storage_blob: bytes | None = field(default=None, repr=False)
    dirname: str | None = None
    checkpoint_index: int = -1
    ahead: bool = False

    def storage(self) -> StorageContext | None:
        """The trial's storage."""
        if self.storage_blob is None:
            return None
        from narke import cloudpickle

        storage = cloudpickle.loads(self.storage_blob)
        storage.trial_dir_name = self.dirname
        storage.current_checkpoint_index = self.checkpoint_index
        return storage


class Session:
    """The link between a running function and its trainable.

    Args:
        info: of the trial.
        storage: where its checkpoints go; None keeps them where they are.
        checkpoint: what it begins from.
    """

    loaded_checkpoint: Checkpoint | None = None

    def __init__(
        self, info: TrialInfo, checkpoint: Checkpoint | None = None, storage: StorageContext | None = None
    ) -> None:
        self.info = info
        self.loaded_checkpoint = checkpoint
        self._storage = storage
        self._made: list[tuple[str, Any]] = []
        self._state = threading.Condition()
        self._may_go_on = True
        self._stopped = False
        self._thread: threading.Thread | None = None
        self.legacy_checkpoint: Any = None

    # ---- what older programs ask the session

    @property
    def experiment_name(self) -> str | None:
        """The experiment's name."""
        return self.info.experiment_name

    @property
    def trial_name(self) -> str | None:
        """The trial's name."""
        return self.info.trial_name

    @property
    def trial_id(self) -> str | None:
        """The trial's identifier."""
        return self.info.trial_id

    @property
    def trial_resources(self) -> PlacementGroupFactory | None:
        """What the trial holds."""
        return self.info.resources

    @property
    def trial_dir(self) -> str | None:
        """The trial's folder in the storage."""
        return self.info.trial_dir

    # ---- in the function's thread

    def report(
        self, metrics: dict[str, Any], *, checkpoint: Checkpoint | None = None, **options: Any
    ) -> None:
        """Hand a result over, and wait until the next one is asked for.

        Args:
            metrics: by name; a copy is made.
            checkpoint: its files are in the storage when this returns.
            options: of `narke.train.report`, for workers of trainers; a trial uploads at once.

        Raises:
            TypeError: the metrics are no dict.
            SystemExit: the trial was stopped.
        """
        if not isinstance(metrics, dict):
            raise TypeError(f"tune.report takes a dict of metrics, not {type(metrics).__name__}: {metrics!r}")
        result = dict(metrics)
        result.setdefault("timestamp", int(time.time()))
        stored = getattr(options.get("checkpoint_upload_mode"), "name", "") == "NO_UPLOAD"
        made = None if checkpoint is None else self._take(checkpoint) if stored else self._persist(checkpoint)
        result["checkpoint_dir_name"] = made.path.rstrip("/").rsplit("/", 1)[-1] if made is not None else None
        if made is not None:
            result["should_checkpoint"] = True
        self._hand_over("result", (result, TrainingResult(made, {}) if made is not None else None))

    def _take(self, checkpoint: Checkpoint) -> Checkpoint:
        """Take a checkpoint that lies in the trial's folder already."""
        name = checkpoint.path.rstrip("/").rsplit("_", 1)[-1]
        self.info.checkpoint_index = int(name) if name.isdigit() else self.info.checkpoint_index + 1
        self.loaded_checkpoint = checkpoint
        return checkpoint

    def _persist(self, checkpoint: Checkpoint) -> Checkpoint:
        if self._storage is None:
            self._storage = self.info.storage()
        self.info.checkpoint_index += 1
        if self._storage is None:
            return checkpoint
        self._storage.current_checkpoint_index = self.info.checkpoint_index
        kept = self._storage.persist_current_checkpoint(checkpoint)
        self.loaded_checkpoint = kept
        if self._storage.sync_config.sync_artifacts_on_checkpoint:
            self._storage.persist_artifacts()
        return kept

    def _hand_over(self, kind: str, value: Any) -> None:
        with self._state:
            if self._stopped:
                raise SystemExit(0)
            while kind == "result" and self.info.ahead and self._made and not self._stopped:
                self._state.wait()
            self._made.append((kind, value))
            self._may_go_on = self.info.ahead or kind != "result"
            self._state.notify_all()
            while not self._may_go_on and not self._stopped:
                self._state.wait()
            if self._stopped and kind == "result":
                raise SystemExit(0)

    # ---- what `narke.train`'s functions find in a trial

    def get_checkpoint(self) -> Checkpoint | None:
        """The checkpoint that the trial begins from, or its last one."""
        return self.loaded_checkpoint

    def get_dataset_shard(self, name: str | None = None) -> Any:
        """Refused: datasets are a trainer's.

        Raises:
            RuntimeError: always.
        """
        raise RuntimeError("a trial of Tune has no dataset shards: pass datasets with tune.with_parameters")

    def get_context(self) -> Any:
        """The trial's context, as that of one worker of one."""
        from narke.tune.context import TrialContext

        return TrialContext()

    # ---- in the trainable's thread

    def start(self, function: Callable[[], Any]) -> None:
        """Run the function in a thread of its own."""

        def run() -> None:
            try:
                self._hand_over("done", _last_value(function(), self))
            except SystemExit:
                self._end()
            except BaseException as error:
                self._end(error)

        self._thread = threading.Thread(target=run, name="trial", daemon=True)
        self._thread.start()

    def _end(self, error: BaseException | None = None) -> None:
        with self._state:
            self._made.append(("error", error) if error is not None else ("done", None))
            self._state.notify_all()

    @property
    def has_started(self) -> bool:
        """Whether the function was started."""
        return self._thread is not None

    def next(self) -> tuple[str, Any]:
        """Let the function go on, and return what it hands over: ("result" | "done" | "error", value)."""
        with self._state:
            if not self._made:
                self._may_go_on = True
                self._state.notify_all()
            while not self._made:
                self._state.wait()
            made = self._made.pop(0)
            self._state.notify_all()
            return made

    def has_ended(self, timeout_s: float) -> bool:
        """Whether a function that may run ahead returned nothing after its last report, which was taken already.

        Args:
            timeout_s: how long to wait for what it does next.
        """
        if not self.info.ahead:
            return False
        with self._state:
            self._state.wait_for(lambda: bool(self._made), timeout_s)
            return self._made[:1] == [("done", None)]

    def stop(self, timeout_s: float) -> bool:
        """End the function at its next report; returns whether it ended in time."""
        with self._state:
            self._stopped = True
            self._state.notify_all()
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()


def _last_value(value: Any, session: Session) -> Any:
    """What a function returned; of a generator each value is reported."""
    if hasattr(value, "__next__"):
        for each in value:
            session.report(each if isinstance(each, dict) else {"_metric": each})
        return None
    return value


_session: Session | None = None


def get_session() -> Session | None:
    """The session of the trial that runs in this process, None outside of one."""
    return _session


def set_session(session: Session | None) -> None:
    """Make a session that of this process."""
    global _session
    from narke.train import _session as of_train

    if session is not None or of_train.current() is _session:
        of_train.set_current(session)
    _session = session
