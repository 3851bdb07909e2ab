"""Converts the stored values of an attribute to another type."""
