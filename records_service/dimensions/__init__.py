"""Dimensions by which values vary, such as language and market."""
