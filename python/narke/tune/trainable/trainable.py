"""`Trainable`: what runs as a trial, as a class; functions are wrapped in one."""

from __future__ import annotations

import copy
import functools
import os
import platform
import shutil
import tempfile
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from narke.tune._checkpoints import TrainingResult
from narke.tune.result import (
    DONE,
    EPISODES_THIS_ITER,
    EPISODES_TOTAL,
    HOSTNAME,
    NODE_IP,
    PID,
    TIME_THIS_ITER_S,
    TIME_TOTAL_S,
    TIMESTEPS_THIS_ITER,
    TIMESTEPS_TOTAL,
    TRAINING_ITERATION,
    TRIAL_ID,
)
from narke.tune.trainable._session import TrialInfo

if TYPE_CHECKING:
    from narke.train._checkpoint import Checkpoint
    from narke.train._storage import StorageContext
    from narke.tune.execution.placement_groups import PlacementGroupFactory

__all__ = ["SETUP_TIME_THRESHOLD", "Trainable"]

SETUP_TIME_THRESHOLD = 10
_DICT_FILE = "dict_checkpoint.pkl"
_METADATA_FILE = ".tune_metadata"


class Trainable:
    """A trial as a class. Subclasses implement `setup`, `step`, `save_checkpoint`, `load_checkpoint`.

    Each call of `step` is one iteration. An instance lives in the trial's worker process.

    Args:
        config: the configuration; `setup` gets a copy.
        storage: where checkpoints go; None when there is no experiment around it.
    """

    def __init__(self, config: dict[str, Any] | None = None, storage: StorageContext | None = None) -> None:
        config = dict(config or {})
        self._trial_info: TrialInfo = config.pop("__trial_info__", None) or TrialInfo()
        self._storage = storage
        self.config = config
        self._local_ip = _node_ip()
        self._start_time = self._setup_end = time.time()
        self._iteration = 0
        self._time_total = 0.0
        self._timesteps_total: int | None = None
        self._episodes_total: int | None = None
        self._restored_at: tuple[int, float] = (0, 0.0)
        self._last_result: dict[str, Any] | None = None
        self._stdout_file: Any = None
        self.setup(copy.deepcopy(self.config))
        took_s = time.time() - self._start_time
        if took_s > SETUP_TIME_THRESHOLD:
            import logging

            logging.getLogger(__name__).info(
                "Trainable.setup took %.1f seconds. If your trainable is slow to initialize, consider setting "
                "reuse_actors=True to reduce actor creation overheads.",
                took_s,
            )

    # ---- what subclasses implement

    def setup(self, config: dict[str, Any]) -> None:
        """Prepare; called once, before the first step."""

    def step(self) -> dict[str, Any]:
        """Run one iteration.

        Returns:
            its metrics. ``done=True`` ends the trial, ``should_checkpoint=True`` has a checkpoint made.
        """
        raise NotImplementedError

    def save_checkpoint(self, checkpoint_dir: str) -> dict[str, Any] | str | None:
        """Write the state into a folder, or return it as a dict.

        Args:
            checkpoint_dir: an empty folder; what is in it afterwards is the checkpoint.
        """
        raise NotImplementedError

    def load_checkpoint(self, checkpoint: dict[str, Any] | str | None) -> None:
        """Take the state back.

        Args:
            checkpoint: the dict that `save_checkpoint` returned, else the folder.
        """
        raise NotImplementedError

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another trial with this configuration, for ``reuse_actors=True``.

        Returns:
            whether that is implemented.
        """
        return False

    def cleanup(self) -> None:
        """Let go of what `setup` took; called once at the end."""

    def log_result(self, result: dict[str, Any]) -> None:
        """See each result where it is made, with what was filled in."""

    def _export_model(self, export_formats: list[str], export_dir: str) -> dict[str, str]:
        return {}

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> PlacementGroupFactory | None:
        """What a trial with a configuration holds; None for one CPU."""
        return None

    @classmethod
    def resource_help(cls, config: dict[str, Any]) -> str:
        """Say how resources are set, for messages."""
        return ""

    # ---- one iteration

    def train(self) -> dict[str, Any]:
        """Run one iteration.

        Returns:
            its result: what `step` returned, and iteration, times, place and configuration beside it.
        """
        started = time.time()
        result = self.step()
        if not isinstance(result, dict):
            raise TypeError(f"step() of {type(self).__name__} must return a dict of metrics, not {result!r}")
        result = dict(result)
        if result.get("__duplicate__"):
            return result
        took_s = result.get(TIME_THIS_ITER_S)
        if took_s is None:
            took_s = time.time() - started
        self._iteration += 1
        self._time_total += took_s
        self._count(result)
        result.setdefault(DONE, False)
        result.setdefault(TRAINING_ITERATION, self._iteration)
        filled = self.get_auto_filled_metrics(time_this_iter=took_s, timestamp=result.get("timestamp"))
        for key, value in filled.items():
            result.setdefault(key, value)
        self._last_result = result
        self.log_result(result)
        return result

    def _count(self, result: dict[str, Any]) -> None:
        for this_iter, total in (
            (TIMESTEPS_THIS_ITER, TIMESTEPS_TOTAL),
            (EPISODES_THIS_ITER, EPISODES_TOTAL),
        ):
            name = f"_{total}"
            more = result.get(this_iter)
            if more is not None:
                setattr(self, name, (getattr(self, name) or 0) + more)
                result.setdefault(total, getattr(self, name))
            elif result.get(total) is not None:
                setattr(self, name, result[total])

    def get_auto_filled_metrics(
        self,
        now: datetime | None = None,
        time_this_iter: float | None = None,
        timestamp: int | None = None,
        debug_metrics_only: bool = False,
    ) -> dict[str, Any]:
        """Return what is filled in beside the metrics that `step` returns.

        Args:
            now: the time; the clock's if None.
            time_this_iter: seconds that the iteration took.
            timestamp: seconds since the epoch, if they are known already.
            debug_metrics_only: without counters and times.
        """
        now = now or datetime.today()
        filled: dict[str, Any] = {
            TRIAL_ID: self.trial_id,
            "date": now.strftime("%Y-%m-%d_%H-%M-%S"),
            "timestamp": timestamp or int(now.timestamp()),
            TIME_THIS_ITER_S: time_this_iter,
            TIME_TOTAL_S: self._time_total,
            PID: os.getpid(),
            HOSTNAME: _hostname(),
            NODE_IP: self._local_ip,
            "config": self.config,
            "time_since_restore": self._time_total - self._restored_at[1],
            "iterations_since_restore": self._iteration - self._restored_at[0],
        }
        if debug_metrics_only:
            counted = (TIME_THIS_ITER_S, TIME_TOTAL_S, "time_since_restore", "iterations_since_restore")
            return {key: value for key, value in filled.items() if key not in counted}
        return filled

    def train_buffered(self, buffer_time_s: float, max_buffer_length: int = 1000) -> list[dict[str, Any]]:
        """Run iterations for some time.

        Args:
            buffer_time_s: seconds.
            max_buffer_length: the most iterations.

        Returns:
            their results; the last is done, due for a checkpoint, or the last in the time.
        """
        results: list[dict[str, Any]] = []
        started = time.monotonic()
        while len(results) < max_buffer_length:
            results.append(self.train())
            if results[-1].get(DONE) or results[-1].get("should_checkpoint"):
                break
            if time.monotonic() - started > buffer_time_s:
                break
        return results

    # ---- checkpoints

    def get_state(self) -> dict[str, Any]:
        """Return the counters that a checkpoint carries."""
        return {
            "iteration": self._iteration,
            "timesteps_total": self._timesteps_total,
            "time_total": self._time_total,
            "episodes_total": self._episodes_total,
            "last_result": self._last_result,
        }

    def save(self, checkpoint_dir: str | None = None) -> TrainingResult | None:
        """Make a checkpoint.

        Args:
            checkpoint_dir: where, when there is no storage; a temporary folder if None.

        Returns:
            the checkpoint and the last metrics; None if `save_checkpoint` made nothing.

        Raises:
            ValueError: `save_checkpoint` returned neither a dict, nor the folder, nor None.
        """
        from narke import cloudpickle
        from narke.train._checkpoint import Checkpoint

        folder = checkpoint_dir or tempfile.mkdtemp(prefix="checkpoint_tmp_")
        os.makedirs(folder, exist_ok=True)
        metrics = dict(self._last_result or {})
        try:
            returned = self.save_checkpoint(folder)
            if isinstance(returned, dict):
                with open(os.path.join(folder, _DICT_FILE), "wb") as file:
                    cloudpickle.dump(returned, file)
            elif isinstance(returned, (str, os.PathLike)):
                _check_folder(str(returned), folder)
            elif returned is not None:
                raise ValueError(f"save_checkpoint must return a dict or None, not {type(returned).__name__}")
            state = cloudpickle.dumps({"state": self.get_state(), "dict": isinstance(returned, dict)})
            with open(os.path.join(folder, _METADATA_FILE), "wb") as file:
                file.write(state)
            checkpoint = Checkpoint(folder)
            if self._storage is not None:
                self._storage.current_checkpoint_index += 1
                self._trial_info.checkpoint_index = self._storage.current_checkpoint_index
                checkpoint = self._storage.persist_current_checkpoint(checkpoint)
                self._storage.persist_artifacts(force=False)
        finally:
            if self._storage is not None and checkpoint_dir is None:
                shutil.rmtree(folder, ignore_errors=True)
        return TrainingResult(checkpoint, metrics)

    def restore(self, checkpoint_path: str | Checkpoint | TrainingResult) -> None:
        """Go back to a checkpoint.

        Args:
            checkpoint_path: it, its folder, or what `save` returned.
        """
        from narke import cloudpickle
        from narke.train._checkpoint import Checkpoint

        given: Any = checkpoint_path
        metrics = dict(getattr(given, "metrics", None) or {})
        checkpoint = getattr(given, "checkpoint", given)
        if not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(str(checkpoint))
        with checkpoint.as_directory() as folder:
            path = os.path.join(folder, _METADATA_FILE)
            saved: dict[str, Any] = {"state": {}, "dict": False}
            if os.path.exists(path):
                with open(path, "rb") as file:
                    saved = cloudpickle.load(file)
            if saved["dict"]:
                with open(os.path.join(folder, _DICT_FILE), "rb") as file:
                    self.load_checkpoint(cloudpickle.load(file))
            else:
                self.load_checkpoint(folder)
        self._take_counters(saved["state"], metrics)

    def _take_counters(self, state: dict[str, Any], metrics: dict[str, Any]) -> None:
        self._iteration = state.get("iteration", metrics.get(TRAINING_ITERATION, 0))
        self._time_total = state.get("time_total", metrics.get(TIME_TOTAL_S, 0.0)) or 0.0
        self._timesteps_total = state.get("timesteps_total")
        self._episodes_total = state.get("episodes_total")
        self._last_result = state.get("last_result") or metrics or None
        self._restored_at = (self._iteration, self._time_total)

    def save_to_object(self) -> bytes:
        """Make a checkpoint in one piece."""
        storage, self._storage = self._storage, None
        folder = tempfile.mkdtemp(prefix="checkpoint_tmp_")
        try:
            result = self.save(folder)
            assert result is not None and result.checkpoint is not None
            return result.checkpoint.to_bytes()
        finally:
            self._storage = storage
            shutil.rmtree(folder, ignore_errors=True)

    def restore_from_object(self, obj: bytes) -> None:
        """Go back to a checkpoint that `save_to_object` made."""
        from narke.train._checkpoint import Checkpoint

        checkpoint = Checkpoint.from_bytes(obj)
        try:
            self.restore(checkpoint)
        finally:
            shutil.rmtree(checkpoint.path, ignore_errors=True)

    def delete_checkpoint(self, checkpoint_path: str) -> None:
        """Delete a local checkpoint's folder; nothing happens if there is none."""
        shutil.rmtree(str(checkpoint_path), ignore_errors=True)

    def export_model(self, export_formats: list[str] | str, export_dir: str | None = None) -> dict[str, str]:
        """Export the model, where a subclass can.

        Returns:
            the folder of each format.
        """
        formats = [export_formats] if isinstance(export_formats, str) else list(export_formats)
        return self._export_model(formats, export_dir or self.logdir or os.getcwd())

    # ---- another trial, the end

    def reset(self, new_config: dict[str, Any], storage: StorageContext | None = None) -> bool:
        """Become another trial; returns False if the class cannot."""
        new_config = dict(new_config)
        info = new_config.pop("__trial_info__", None)
        if not self.reset_config(copy.deepcopy(new_config)):
            return False
        self._trial_info = info or TrialInfo()
        self._storage = storage
        self.config = new_config
        self._iteration, self._time_total = 0, 0.0
        self._timesteps_total = self._episodes_total = None
        self._restored_at, self._last_result = (0, 0.0), None
        self._start_time = time.time()
        return True

    def stop(self) -> None:
        """End; calls `cleanup`."""
        self.cleanup()

    # ---- what it knows

    @property
    def uses_cloud_checkpointing(self) -> bool:
        """Whether checkpoints go to a storage that is not a local folder."""
        return bool(self._storage) and self._trial_info.trial_dir != self._trial_info.local_dir

    @property
    def logdir(self) -> str | None:
        """The trial's folder on this machine."""
        return self._trial_info.local_dir

    @property
    def trial_id(self) -> str:
        """The trial's identifier; "default" without a trial."""
        return self._trial_info.trial_id or "default"

    @property
    def trial_name(self) -> str:
        """The trial's name; "default" without a trial."""
        return self._trial_info.trial_name or "default"

    @property
    def trial_resources(self) -> PlacementGroupFactory | str:
        """What the trial holds; "default" without a trial."""
        return self._trial_info.resources or "default"

    @property
    def iteration(self) -> int:
        """How many iterations have run."""
        return self._iteration

    @property
    def training_iteration(self) -> int:
        """How many iterations have run."""
        return self._iteration

    def get_config(self) -> dict[str, Any]:
        """Return the configuration."""
        return self.config

    def get_current_ip_pid(self) -> tuple[str, int]:
        """Return the address of this node and the process's number."""
        return self._local_ip, os.getpid()

    def is_actor(self) -> bool:
        """Whether this lives in a worker process of a cluster."""
        import narke

        return narke.is_initialized() and narke.get_runtime_context().get_actor_id() is not None


def _check_folder(returned: str, folder: str) -> None:
    inside = os.path.realpath(returned)
    if not os.path.exists(inside) or not (inside + os.sep).startswith(os.path.realpath(folder) + os.sep):
        raise ValueError(
            f"save_checkpoint returned {returned!r}, which is not inside of checkpoint_dir {folder!r}: write there, or "
            "return a dict"
        )


@functools.cache
def _hostname() -> str:
    return platform.node()


@functools.cache
def _node_ip() -> str:
    import narke

    return narke.util.get_node_ip_address()
