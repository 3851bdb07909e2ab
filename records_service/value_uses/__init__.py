"""Remembers which attributes have values, and in which segments, so that nobody must search."""
