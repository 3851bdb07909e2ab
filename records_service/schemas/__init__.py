"""Schemas: which attributes a kind of product has, in which groups, with which workflow."""
