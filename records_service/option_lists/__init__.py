"""Option lists: the permitted values of option attributes."""
