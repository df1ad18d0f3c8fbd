"""Routers that may still change."""
