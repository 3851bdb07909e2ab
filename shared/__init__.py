"""The shelf that all four services share: it knows no product word but those in `events`."""

VERSION = "0.1.0"
"""The version of Sigma PIM; the same as in pyproject.toml."""
