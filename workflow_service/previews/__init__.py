"""Tells what another version of a workflow would do to records, before it is saved."""
