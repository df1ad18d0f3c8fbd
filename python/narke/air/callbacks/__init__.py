"""Links to other libraries, under their first names."""
