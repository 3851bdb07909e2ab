"""Attributes: what kind of value a product may have under one alias."""
