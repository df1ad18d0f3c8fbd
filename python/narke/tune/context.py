"""`get_context`: what a running trial knows of itself."""

from __future__ import annotations

from typing import Any

from narke.tune.trainable._session import TrialInfo, get_session

__all__ = ["TuneContext", "get_context"]


class TuneContext:
    """Names, folder and resources of the trial that runs in this process; None outside of one."""

    def _info(self) -> TrialInfo:
        session = get_session()
        return session.info if session is not None else TrialInfo()

    def get_experiment_name(self) -> str | None:
        """The experiment's name."""
        return self._info().experiment_name

    def get_trial_name(self) -> str | None:
        """The trial's name."""
        return self._info().trial_name

    def get_trial_id(self) -> str | None:
        """The trial's identifier."""
        return self._info().trial_id

    def get_trial_resources(self) -> Any:
        """What the trial holds."""
        return self._info().resources

    def get_trial_dir(self) -> str | None:
        """The trial's folder in the storage."""
        return self._info().trial_dir

    def get_storage(self) -> Any:
        """Where the trial's files go."""
        return self._info().storage()

    def get_metadata(self) -> dict[str, Any]:
        """Refused: metadata belongs to trainers."""
        raise _of_trainers("get_metadata")

    def get_world_size(self) -> int:
        """Refused: ranks belong to trainers."""
        raise _of_trainers("get_world_size")

    def get_world_rank(self) -> int:
        """Refused: ranks belong to trainers."""
        raise _of_trainers("get_world_rank")

    def get_local_rank(self) -> int:
        """Refused: ranks belong to trainers."""
        raise _of_trainers("get_local_rank")

    def get_local_world_size(self) -> int:
        """Refused: ranks belong to trainers."""
        raise _of_trainers("get_local_world_size")

    def get_node_rank(self) -> int:
        """Refused: ranks belong to trainers."""
        raise _of_trainers("get_node_rank")


class TrialContext(TuneContext):
    """What `narke.train.get_context` gives in a trial: it is one worker of one."""

    def get_metadata(self) -> dict[str, Any]:
        """No metadata."""
        return {}

    def get_world_size(self) -> int:
        """1."""
        return 1

    def get_world_rank(self) -> int:
        """0."""
        return 0

    def get_local_rank(self) -> int:
        """0."""
        return 0

    def get_local_world_size(self) -> int:
        """1."""
        return 1

    def get_node_rank(self) -> int:
        """0."""
        return 0


def _of_trainers(name: str) -> NotImplementedError:
    return NotImplementedError(f"{name} is for workers of a trainer; a trial of Tune is one process")


def get_context() -> TuneContext:
    """Return the context of the trial that runs here."""
    return TuneContext()
