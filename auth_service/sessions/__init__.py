"""Sessions: from a password to a token, and from a token to the next."""
