"""Deliveries: what is sent to webhooks, attempt by attempt."""
