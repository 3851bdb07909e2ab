"""Applies a change set, or sees to it that it is not applied as it was approved."""
