"""Proposed changes of records and variants: what they are about, and how they are applied."""
