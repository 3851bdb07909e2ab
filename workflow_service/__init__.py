"""Defines lifecycles, and decides which steps a record may take in them."""
