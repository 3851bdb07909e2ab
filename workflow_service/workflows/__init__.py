"""Workflows: created, read, replaced and deleted."""
