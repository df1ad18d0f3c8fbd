"""Links to other libraries."""
