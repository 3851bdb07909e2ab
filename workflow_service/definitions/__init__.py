"""Workflow definitions: what one may contain, and whether it is sound."""
