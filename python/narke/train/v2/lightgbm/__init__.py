"""The present generation's trainer of this framework."""
