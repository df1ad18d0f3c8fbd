"""What a backend offers, and the backend for CPUs."""

__all__: list[str] = []
