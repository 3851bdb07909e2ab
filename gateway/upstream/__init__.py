"""Connections to the services: a pool per service, HTTP/1.1 with streaming in both directions."""
