"""Tensors in Arrow and pandas."""
