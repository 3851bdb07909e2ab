"""The categories of a catalog, which form a tree."""
