"""The permissions of a role: what it allows, and who may grant what."""
