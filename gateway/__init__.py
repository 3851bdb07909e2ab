"""The single entry point: authenticates callers and forwards requests with a signed identity."""
