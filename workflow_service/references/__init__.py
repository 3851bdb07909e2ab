"""References of schemas to workflows: a workflow that is referred to cannot be deleted."""
