"""Background jobs that clients can follow."""
