"""Tools for checkpoints' folders of older programs."""

from __future__ import annotations

import glob
import os
import pickle
from typing import Any

__all__ = ["FuncCheckpointUtil", "PlacementGroupUtil", "TrainableUtil"]

_MARKER = ".is_checkpoint"
_METADATA = ".tune_metadata"


class TrainableUtil:
    """Folders ``checkpoint_000003`` in a trial's folder, with a marker file."""

    @staticmethod
    def write_metadata(checkpoint_dir: str, metadata: dict) -> None:
        """Write metadata into a checkpoint."""
        with open(os.path.join(checkpoint_dir, _METADATA), "wb") as file:
            pickle.dump(metadata, file)

    @staticmethod
    def load_metadata(checkpoint_dir: str) -> dict:
        """Read a checkpoint's metadata."""
        with open(os.path.join(TrainableUtil.find_checkpoint_dir(checkpoint_dir), _METADATA), "rb") as file:
            return pickle.load(file)

    @staticmethod
    def pickle_checkpoint(checkpoint_path: str) -> bytes:
        """All files of a checkpoint in one piece."""
        from narke.train._checkpoint import Checkpoint

        return Checkpoint(TrainableUtil.find_checkpoint_dir(checkpoint_path)).to_bytes()

    @staticmethod
    def find_checkpoint_dir(checkpoint_path: str) -> str:
        """The checkpoint's folder that a path lies in.

        Raises:
            FileNotFoundError: there is none.
        """
        folder = checkpoint_path if os.path.isdir(checkpoint_path) else os.path.dirname(checkpoint_path)
        while folder != os.path.dirname(folder):
            if os.path.exists(os.path.join(folder, _MARKER)):
                return folder
            folder = os.path.dirname(folder)
        raise FileNotFoundError(f"Checkpoint directory not found for {checkpoint_path}")

    @staticmethod
    def find_rel_checkpoint_dir(logdir: str, checkpoint_path: str) -> str:
        """The checkpoint's folder that a path lies in, relative to the trial's."""
        return os.path.relpath(TrainableUtil.find_checkpoint_dir(checkpoint_path), logdir)

    @staticmethod
    def make_checkpoint_dir(checkpoint_dir: str, index: int | str, override: bool = False) -> str:
        """Make the folder of a checkpoint.

        Args:
            checkpoint_dir: the trial's folder, or the checkpoint's with `override`.
            index: of the checkpoint.
            override: take the folder as it is.
        """
        name = f"checkpoint_{index:06d}" if isinstance(index, int) else f"checkpoint_{index}"
        path = checkpoint_dir if override else os.path.join(checkpoint_dir, name)
        os.makedirs(path, exist_ok=True)
        TrainableUtil.mark_as_checkpoint_dir(path)
        return path

    @staticmethod
    def mark_as_checkpoint_dir(checkpoint_dir: str) -> None:
        """Write the marker file."""
        with open(os.path.join(checkpoint_dir, _MARKER), "a", encoding="utf-8"):
            pass

    @staticmethod
    def get_checkpoints_paths(logdir: str) -> Any:
        """A table of a trial's checkpoints: chkpt_path, training_iteration."""
        import pandas as pd

        rows = []
        for path in sorted(glob.glob(os.path.join(glob.escape(logdir), "checkpoint_*"))):
            number = path.rsplit("_", 1)[1]
            rows.append((path, int(number) if number.isdigit() else -1))
        return pd.DataFrame(rows, columns=["chkpt_path", "training_iteration"])

    @staticmethod
    def get_remote_storage_path(local_path: str, logdir: str, remote_checkpoint_dir: str) -> str:
        """Where a file of a trial's folder lies in the storage."""
        return f"{remote_checkpoint_dir.rstrip('/')}/{os.path.relpath(local_path, logdir)}"


class FuncCheckpointUtil:
    """Temporary and permanent folders of checkpoints of functions."""

    @staticmethod
    def mk_null_checkpoint_dir(logdir: str) -> str:
        """A folder that stands for no checkpoint."""
        return FuncCheckpointUtil._marked(logdir, "null", ".null_marker")

    @staticmethod
    def mk_temp_checkpoint_dir(logdir: str) -> str:
        """A folder for a checkpoint that is not reported yet."""
        return FuncCheckpointUtil._marked(logdir, "tmp", ".temp_marker")

    @staticmethod
    def _marked(logdir: str, kind: str, marker: str) -> str:
        import uuid

        path = TrainableUtil.make_checkpoint_dir(logdir, f"{kind}{uuid.uuid4().hex[:6]}")
        with open(os.path.join(path, marker), "a", encoding="utf-8"):
            pass
        return path

    @staticmethod
    def is_temp_checkpoint_dir(checkpoint_dir: str) -> bool:
        """Whether a folder is of `mk_temp_checkpoint_dir`."""
        return os.path.exists(os.path.join(checkpoint_dir, ".temp_marker"))

    @staticmethod
    def is_null_checkpoint(checkpoint_dir: str) -> bool:
        """Whether a folder is of `mk_null_checkpoint_dir`."""
        return os.path.exists(os.path.join(checkpoint_dir, ".null_marker"))

    @staticmethod
    def create_perm_checkpoint(checkpoint_dir: str, logdir: str, step: int) -> str:
        """Make a temporary checkpoint the trial's checkpoint of a step."""
        import shutil

        path = TrainableUtil.make_checkpoint_dir(logdir, step)
        shutil.copytree(
            checkpoint_dir, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".temp_marker")
        )
        return path


class PlacementGroupUtil:
    """Options of workers that a trainable starts."""

    @staticmethod
    def get_remote_worker_options(
        num_workers: int,
        num_cpus_per_worker: float,
        num_gpus_per_worker: float,
        num_workers_per_host: int | None,
        timeout_s: float | None,
    ) -> tuple[dict[str, Any], Any]:
        """Return (options of the workers, the placement group that holds them, or None).

        Args:
            num_workers: how many.
            num_cpus_per_worker, num_gpus_per_worker: what each holds.
            num_workers_per_host: so many on each node; None for anywhere.
            timeout_s: how long to wait for the nodes.

        Raises:
            TimeoutError: the nodes are not there in time.
        """
        import narke
        from narke.util.placement_group import placement_group

        options: dict[str, Any] = {"num_cpus": num_cpus_per_worker, "num_gpus": num_gpus_per_worker}
        if not num_workers_per_host:
            return options, None
        hosts = -(-num_workers // num_workers_per_host)
        each = {
            "CPU": num_cpus_per_worker * num_workers_per_host,
            "GPU": num_gpus_per_worker * num_workers_per_host,
        }
        group = placement_group([dict(each) for _ in range(hosts)], strategy="STRICT_SPREAD")
        ready, _ = narke.wait([group.ready()], timeout=timeout_s)
        if not ready:
            raise TimeoutError(f"{hosts} nodes with {each} each were not there within {timeout_s} s")
        return {**options, "placement_group": group}, group
