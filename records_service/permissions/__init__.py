"""Decides which attributes a caller may write, read, or not even see."""
