"""Scores of completeness as searches compare them: the rules of a role, and their SQL."""
