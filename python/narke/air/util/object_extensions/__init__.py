"""Any Python object in Arrow."""
