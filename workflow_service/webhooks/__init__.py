"""Webhooks: which events are sent where, signed with which secret."""
