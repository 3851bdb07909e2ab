"""Roles: created, read, replaced and deleted."""
