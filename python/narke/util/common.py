"""Constants that several utilities share."""

__all__ = ["INT32_MAX"]

INT32_MAX = 2**31 - 1
