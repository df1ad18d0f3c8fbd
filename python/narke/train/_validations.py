"""Validations of checkpoints, as tasks beside the training."""

from __future__ import annotations

import logging
import time
from typing import Any

import narke
from narke.exceptions import RayError
from narke.train._snapshot import Entry
from narke.train._vault import Vault
from narke.train.v2.api.reported_checkpoint import ReportedCheckpointStatus
from narke.train.v2.api.validation_config import ValidationConfig, ValidationTaskConfig

__all__ = ["Validations"]

_log = logging.getLogger(__name__)


class Validations:
    """The validations of a run that have not ended.

    Args:
        config: what validates; None if nothing does.
        vault: the run's checkpoints.
    """

    def __init__(self, config: ValidationConfig | None, vault: Vault) -> None:
        self._config, self._vault = config, vault
        self._open: dict[Any, tuple[Entry, float | None]] = {}

    def begin(self, entry: Entry, asked: Any) -> None:
        """Validate a checkpoint.

        Args:
            entry: of the checkpoint.
            asked: True, or a `ValidationTaskConfig`.
        """
        assert self._config is not None
        task = asked if isinstance(asked, ValidationTaskConfig) else self._config.task_config
        options = self._config.ray_remote_kwargs
        remote = narke.remote(**options)(self._config.fn) if options else narke.remote(self._config.fn)
        kwargs = {**(self._config.task_config.fn_kwargs or {}), **(task.fn_kwargs or {})}
        ref = remote.remote(self._vault.at(entry), **kwargs)
        end = None if task.timeout_s is None else time.monotonic() + task.timeout_s
        self._open[ref] = (entry, end)

    def refs(self) -> list[Any]:
        """References that become ready when a validation ends."""
        return list(self._open)

    def collect(self) -> bool:
        """Take in what has ended, and end what takes too long; tells whether there was something."""
        before = len(self._open)
        if not before:
            return False
        done, _ = narke.wait(list(self._open), num_returns=len(self._open), timeout=0)
        for ref in done:
            entry, _ = self._open.pop(ref)
            self._ended(entry, ref)
        for ref, (entry, end) in list(self._open.items()):
            if end is not None and time.monotonic() > end:
                del self._open[ref]
                narke.cancel(ref, force=False)
                self._vault.validated(entry, {}, ReportedCheckpointStatus.VALIDATION_TIMEOUT)
        return len(self._open) < before

    def _ended(self, entry: Entry, ref: Any) -> None:
        try:
            metrics = narke.get(ref)
        except RayError as error:
            _log.warning("the validation of %s failed: %s", entry.checkpoint_dir_name, error)
            self._vault.validated(entry, {}, ReportedCheckpointStatus.VALIDATION_FAILED)
            return
        if not isinstance(metrics, dict):
            _log.warning("a validation function returns a dict of metrics, not %s", type(metrics).__name__)
            self._vault.validated(entry, {}, ReportedCheckpointStatus.VALIDATION_FAILED)
            return
        self._vault.validated(entry, metrics, ReportedCheckpointStatus.VALIDATED)

    def finish(self) -> None:
        """Wait for all of them."""
        while self._open:
            narke.wait(list(self._open), timeout=0.5)
            self.collect()
