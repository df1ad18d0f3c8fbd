"""What the public modules are made of; nothing here is for users."""
