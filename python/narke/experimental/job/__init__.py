"""Examples of jobs."""

__all__: list[str] = []
