"""Dimensions: where values may differ, such as language and market."""
