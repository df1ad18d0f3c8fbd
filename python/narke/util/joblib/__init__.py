"""Run joblib's parallel loops, and with them scikit-learn's, on the cluster."""

from narke.util.annotations import PublicAPI

__all__ = ["register_ray"]


@PublicAPI
def register_ray() -> None:
    """Register the cluster with joblib under the names ``"ray"`` and ``"narke"``.

    ``with joblib.parallel_config("ray"): ...`` then runs what is inside on the cluster.

    Raises:
        ImportError: joblib is not installed.
    """
    try:
        import joblib
    except ImportError as error:
        raise ImportError("register_ray needs joblib: install it with `pip install joblib`") from error
    from narke.util.joblib.ray_backend import RayBackend

    for name in ("ray", "narke"):
        joblib.register_parallel_backend(name, RayBackend)
