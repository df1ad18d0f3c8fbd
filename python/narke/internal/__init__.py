"""Nothing public; the package exists because programs import it."""

__all__: list[str] = []
