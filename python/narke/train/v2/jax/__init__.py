"""Training with JAX."""

from narke.train.v2.jax.config import JaxConfig
from narke.train.v2.jax.jax_trainer import JaxTrainer

__all__ = ["JaxConfig", "JaxTrainer"]
