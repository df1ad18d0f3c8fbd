"""Helpers of training and tuning."""
