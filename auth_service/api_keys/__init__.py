"""API keys: how programs come in, with five permissions to choose from."""
