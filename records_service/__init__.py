"""Owns what needs one transaction: the model of a workspace, its records, and their history."""
