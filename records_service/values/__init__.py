"""Values of records, as pure rules: entries and scopes, validation, completeness, relations."""
