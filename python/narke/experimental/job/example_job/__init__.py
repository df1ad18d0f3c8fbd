"""A job that counts steps."""

__all__: list[str] = []
