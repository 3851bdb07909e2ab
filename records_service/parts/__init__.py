"""What dimensions, option lists, attributes and schemas have in common: id, alias, version, body."""
