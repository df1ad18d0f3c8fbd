"""Helpers of Ray's that programs import."""
