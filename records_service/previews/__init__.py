"""Tells what a change of the data model would do to stored records, before it is made."""
