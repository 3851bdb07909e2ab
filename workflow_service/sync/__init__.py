"""Synchronises channels with their targets, in the background."""
