"""The commands of ``narke``, one a module."""
