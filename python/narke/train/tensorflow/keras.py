"""Reporting from Keras' training."""

from __future__ import annotations

from narke.air.integrations.keras import ReportCheckpointCallback as _Callback

__all__ = ["RayReportCallback", "ReportCheckpointCallback"]


class RayReportCallback(_Callback):
    """See `narke.air.integrations.keras.ReportCheckpointCallback`."""


class ReportCheckpointCallback(RayReportCallback):
    """See `narke.air.integrations.keras.ReportCheckpointCallback`."""
