"""How reported checkpoints reach the storage, and when they count."""

from __future__ import annotations

from enum import Enum

__all__ = ["CheckpointConsistencyMode", "CheckpointUploadMode"]


class CheckpointUploadMode(Enum):
    """How a checkpoint reaches the storage."""

    ASYNC = "ASYNC"  # by a thread, while training goes on
    SYNC = "SYNC"  # before `report` returns
    NO_UPLOAD = "NO_UPLOAD"  # it is there already

    def _default_delete_local_checkpoint_after_upload(self) -> bool:
        return self is CheckpointUploadMode.ASYNC

    def default_delete_local_checkpoint_after_upload(self) -> bool:
        """Whether the local folder goes once it is stored, when nobody says."""
        return self._default_delete_local_checkpoint_after_upload()


class CheckpointConsistencyMode(Enum):
    """Which of the reported checkpoints `get_all_reported_checkpoints` waits for."""

    COMMITTED = "COMMITTED"  # all are stored
    VALIDATED = "VALIDATED"  # and their validations have ended
