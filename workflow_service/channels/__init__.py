"""Channels: where the records of a workspace are sold, and how they are mapped to it."""
