"""Grants: for whom a service may act while nobody calls, and the identity that it then gets."""
