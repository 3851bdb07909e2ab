"""Trees of categories: a catalog holds one, and a role may view it or not."""
