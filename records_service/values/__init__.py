"""Values of records, as pure rules: scopes, validation, equality, completeness, unique keys."""
