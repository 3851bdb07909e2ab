"""What the author of a workflow may change in it, where a role restricts the author."""
