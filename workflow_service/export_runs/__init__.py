"""Runs of export jobs: begun by a schedule or by hand, and done by a worker under a lease."""
