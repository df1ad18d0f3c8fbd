"""Inside Serve: not part of the API."""
