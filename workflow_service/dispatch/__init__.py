"""Sends events to webhooks: in order for each record, and each webhook in a lane of its own."""
