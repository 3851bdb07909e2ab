"""Records as they were: one version of them, rebuilt from the history, and written again."""
