"""Requests to addresses that users name: they reach nothing inside the operator's network."""
