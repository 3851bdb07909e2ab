"""Code that all four services share. Only `events` knows words of the product."""

VERSION = "0.1.0"
"""The version of Sigma PIM; the same as in pyproject.toml."""
