"""What the present generation of Train shows."""
