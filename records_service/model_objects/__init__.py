"""What dimensions, option lists, attributes and schemas share: id, alias, version, body."""
