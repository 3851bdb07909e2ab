"""The work on a synchronisation: page by page, each with its effect once."""
