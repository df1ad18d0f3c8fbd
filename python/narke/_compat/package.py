"""Stands for packages of Ray that have no names of their own here."""

from __future__ import annotations

__all__: list[str] = []
__path__: list[str] = []  # its modules are found by name, see narke._compat
