"""Knows workspaces, users, roles and API keys; lets people in and says who a caller is."""
