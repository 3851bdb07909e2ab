"""Searches under a name: kept as they were sent, and run with the rights of whoever runs them."""
