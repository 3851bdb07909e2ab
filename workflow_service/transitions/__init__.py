"""Transitions: whether a caller may move a record to another state, and why not."""
