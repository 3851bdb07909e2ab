"""Variants: what records come in, at any depth; each stores only what it overrides."""
