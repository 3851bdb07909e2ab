"""Export jobs: what is exported, when, in which format, and where the file goes."""
