"""The present look of progress."""
