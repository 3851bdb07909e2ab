"""Sessions: login with a password, and refresh of a token."""
