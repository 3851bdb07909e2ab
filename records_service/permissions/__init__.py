"""Decides which attributes a caller can see, read and write."""
