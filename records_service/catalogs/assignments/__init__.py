"""Which records are in which categories."""
