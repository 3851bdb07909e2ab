"""API keys: credentials of programs, each with a selection of five permissions."""
