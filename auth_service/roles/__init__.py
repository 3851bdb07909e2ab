"""Roles: what people may do in a workspace, down to single attributes."""
