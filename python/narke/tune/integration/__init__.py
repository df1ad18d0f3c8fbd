"""Callbacks by which training libraries report to Tune."""
