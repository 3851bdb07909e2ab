"""Names of schemas and attributes in roles: resolved to ids, or remembered as unknown."""
