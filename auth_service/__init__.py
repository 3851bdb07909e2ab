"""Manages workspaces, users, roles and API keys, and authenticates users."""
