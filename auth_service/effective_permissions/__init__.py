"""The permission that a role has on each attribute of a schema, for clients."""
