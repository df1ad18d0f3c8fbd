"""Types of experimental interfaces."""

__all__: list[str] = []
