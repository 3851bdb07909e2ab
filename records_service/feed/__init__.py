"""The feed: what changed in a workspace, in one order, for whoever follows."""
