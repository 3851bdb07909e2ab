"""Stores the data model of a workspace, its records, and their history."""
