"""Keras' callback, under its first name."""

from __future__ import annotations

from narke.air.integrations.keras import Callback

__all__ = ["Callback"]
