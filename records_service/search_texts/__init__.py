"""The index of words and texts: what it holds of a record, and the job that keeps it up to date."""
