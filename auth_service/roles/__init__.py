"""Roles: what users may do in a workspace, down to single attributes."""
