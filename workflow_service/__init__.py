"""Stores workflow definitions, and decides which transitions a record may make."""
