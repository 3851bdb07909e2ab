"""Takes a workspace from one installation to another: moved while it is in use, or as a file."""
