"""Writes many options of a list in one call."""
