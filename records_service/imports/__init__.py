"""Imports records from rows and files: preview, execute, and jobs for files of any size."""
