"""Workspaces: the tenants, each with its record limit."""
