"""Sigma PIM on Citus: which tables are distributed (docs/operations.md, "On Citus")."""
