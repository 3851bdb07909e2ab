"""Secrets that must be readable again, sealed before they are stored."""
