"""`RuntimeEnv`: what tasks and actors need around them."""

from narke.runtime_env.runtime_env import RuntimeEnv, RuntimeEnvConfig

__all__ = ["RuntimeEnv", "RuntimeEnvConfig"]
