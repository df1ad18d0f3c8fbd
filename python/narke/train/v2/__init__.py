"""The present generation of Train, by module."""
