"""How `Tuner` and `tune.run` are made."""
