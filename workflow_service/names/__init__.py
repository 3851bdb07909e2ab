"""Names of attributes in the lists of states: resolved to ids, or remembered as unknown."""
