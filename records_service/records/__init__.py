"""Records: values per scope, their validation, completeness and lifecycle."""
