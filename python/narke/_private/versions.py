"""Versions that several modules state."""

__all__ = ["API_VERSION"]

API_VERSION = "2.60.0"  # of Ray's API
