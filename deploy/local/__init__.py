"""The whole system on one machine, and the private servers that the tests start."""
